from typing import NamedTuple

import msgspec
import pytest

from origin.build.evaluate.chat_jobs import Lap
from origin.build.evaluate.races import Raced, race_figures, race_in_turns


class Took(NamedTuple):
    read_s: float


def test_both_run_in_each_round_and_the_first_one_is_last_in_the_next():
    heard, ran = [], []

    def lap(index, done):
        ran.append((done, index))
        return 10 * done + index

    raced = race_in_turns(3, lap, lambda *how_far: heard.append(how_far))
    assert ran == [(0, 1), (0, 0), (1, 0), (1, 1), (2, 1), (2, 0)]
    assert (raced.candidate, raced.sibling) == ([0, 10, 20], [1, 11, 21])
    assert heard == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(("sibling", "suffix"), [("", ""), ("usual", "@usual")])
def test_a_speedup_is_the_median_of_the_rounds_own_quotients(sibling, suffix):
    # The machine was ten times slower in the second round: the quotient of the medians would say 2.5.
    raced = Raced(candidate=[Took(1.0), Took(10.0), Took(2.0)], sibling=[Took(3.0), Took(30.0), Took(5.0)])
    figures = race_figures(
        raced,
        sibling=sibling,
        seed=1,
        took_s={"read": lambda lap: lap.read_s},
        own={"read_s": lambda lap: lap.read_s},
    )
    assert set(figures) == {f"read_speedup{suffix}", "read_s"}
    speedup = figures[f"read_speedup{suffix}"]
    assert (speedup.low, speedup.value, speedup.high) == (2.5, 3.0, 3.0)
    assert figures["read_s"].value == 2.0


def test_laps_come_back_from_a_child_as_what_they_were():
    raced = Raced(candidate=[Lap(1.0, 2.0, 3.0)], sibling=[Lap(4.0, 5.0, 6.0)])
    assert msgspec.json.decode(msgspec.json.encode(raced), type=Raced[Lap]) == raced
