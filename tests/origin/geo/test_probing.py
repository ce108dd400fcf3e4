"""Which nodes are worth a probe: by gain over scenarios, not by the guess alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from origin.geo.probing import likeness, probes

NO_MISSES, NOTHING = np.zeros((0, 3)), np.zeros(0)


def test_without_scenarios_the_least_guesses_are_probed():
    assert probes(np.array([30.0, 10.0, 20.0]), NO_MISSES, NOTHING, {}, 2) == [1, 2]


def test_two_nodes_that_are_wrong_together_are_worth_one_probe():
    # Nodes 0 and 1 are alike in every scenario; node 2 is slower on average, and fast where they are slow.
    together = np.array([0.0, 80.0] * 8)
    misses = np.column_stack([together, together, -together])
    assert probes(np.array([20.0, 21.0, 100.0]), misses, NOTHING, {}, 2) == [0, 2]


def test_what_was_measured_is_never_probed_and_tells_which_scenarios_hold():
    together = np.array([0.0, 80.0] * 8)
    misses = np.column_stack([together, together, -together])
    guesses = np.array([20.0, 21.0, 100.0])
    assert probes(guesses, misses, NOTHING, {0: 100.0}, 1) == [2]
    assert probes(guesses, misses, NOTHING, {0: 20.0, 1: 21.0, 2: 100.0}, 4) == []


def test_scenarios_that_count_for_more_decide():
    # Node 1 is fast in the last scenario alone.
    misses = np.column_stack([np.zeros(10), np.r_[np.full(9, 60.0), -30.0]])
    guesses = np.array([40.0, 40.0])
    assert probes(guesses, misses, NOTHING, {}, 1) == [0]
    assert probes(guesses, misses, NOTHING, {}, 1, np.r_[np.full(9, 0.01), 1.0]) == [1]
    # With too few of them the guesses decide.
    assert probes(guesses, misses[-3:], NOTHING, {}, 1, np.ones(3)) == [0]


def test_who_knows_a_good_node_is_not_asked_for_what_cannot_gain():
    misses = np.zeros((10, 3))
    assert probes(np.array([20.0, 90.0, 100.0]), misses, NOTHING, {0: 20.0}, 4) == []


def test_a_node_that_nobody_has_measured_may_be_anything():
    misses = np.column_stack([np.zeros(16), np.full(16, math.nan)])
    left_over = np.array([-60.0, 60.0] * 20)
    assert probes(np.array([40.0, 60.0]), misses, left_over, {0: 40.0}, 1) == [1]
    assert probes(np.array([40.0, 60.0]), misses, np.zeros(0), {0: 40.0}, 1) == []


@given(
    arrays.arrays(np.float64, (12, 5), elements=st.one_of(st.floats(-500, 500), st.just(math.nan))),
    arrays.arrays(np.float64, 5, elements=st.floats(0.1, 500)),
    st.dictionaries(st.integers(0, 4), st.floats(0.1, 500)),
    st.integers(0, 6),
)
def test_any_guesses_give_distinct_unmeasured_nodes(misses, guesses, measured, limit_count):
    picked = probes(guesses, misses, np.array([1.0, -2.0]), measured, limit_count)
    assert len(picked) == len(set(picked)) <= min(limit_count, 5 - len(measured))
    assert not set(picked) & set(measured)
    assert measured or len(picked) == min(limit_count, 5)


def test_likeness_prefers_scenarios_that_agree_and_sums_to_one():
    weights = likeness(np.arange(20.0)[:, None], {0: 3.0})
    assert weights.sum() == pytest.approx(1)
    assert weights.argmax() == 3
