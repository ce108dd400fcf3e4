"""What speaks against a node, and how soon it is forgiven."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport
from origin.doubts import Doubts
from origin.fleet import Fleet, FleetRules


def beats(doubts, since_s, count, arrived_count=0):
    for number in range(count):
        doubts.note_beat(1.0, 1.0, arrived_count, since_s + number)


def test_a_sound_node_is_not_doubted():
    doubts = Doubts(0.0)
    beats(doubts, 1.0, 100, arrived_count=5)
    assert doubts.failure_share() == 0.0


def test_failures_count_against_what_arrived():
    busy, idle = Doubts(0.0), Doubts(0.0)
    beats(busy, 1.0, 10, arrived_count=10)
    beats(idle, 1.0, 10)
    for it in (busy, idle):
        assert it.note_failure("someone", 10.0)
    assert busy.failure_share() < 0.02
    assert idle.failure_share() == pytest.approx(0.5 / 3)
    for number in range(2):
        idle.note_failure(f"another-{number}", 10.0)
    assert idle.failure_share() == pytest.approx(0.75)


def test_one_reporter_counts_once_in_ten_seconds():
    doubts = Doubts(0.0)
    counted = [doubts.note_failure("someone", number * 0.5) for number in range(41)]
    assert counted.count(True) == 3
    many = Doubts(0.0)
    assert all(many.note_failure(f"client-{number}", 1.0) for number in range(3000))
    assert many.failure_share() < 1.0


def test_a_node_that_comes_back_is_doubted_and_then_forgiven():
    doubts = Doubts(0.0)
    doubts.note_beat(60.0, 1.0, 0, 60.0)
    at_once = doubts.failure_share()
    beats(doubts, 61.0, 10)
    soon = doubts.failure_share()
    beats(doubts, 71.0, 50)
    assert 0.5 < at_once < 1.0
    assert soon < at_once / 3
    assert doubts.failure_share() == 0.0


def test_a_silence_that_was_announced_speaks_against_nobody():
    def report(**more):
        return NodeReport(node_id="n", incarnation=1, url="http://n.example", **more)

    for draining, doubted in ((True, False), (False, True)):
        fleet = Fleet(FleetRules())
        fleet.accept(report(draining=draining), 0.0)
        fleet.accept(report(models=(ModelReport(name="chat", version="1", state="ready"),)), 60.0)
        (seat,) = fleet.pool("chat", "stable").seats.values()
        assert (seat.member.doubts.failure_share() > 0) is doubted


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["beat", "late", "fail", "work"])), max_size=60))
def test_the_share_is_always_a_probability(events):
    doubts, now_s = Doubts(0.0), 0.0
    for number, (step_s, event) in enumerate(events):
        now_s += step_s
        if event == "fail":
            doubts.note_failure(str(number), now_s)
        else:
            doubts.note_beat(50.0 if event == "late" else 1.0, 1.0, 7 if event == "work" else 0, now_s)
        assert 0.0 <= doubts.failure_share() < 1.0
