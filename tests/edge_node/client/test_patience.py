"""Times to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.client.patience import (
    backoff_s,
    check_timeout_s,
    connect_timeout_s,
    first_check_s,
    next_check_s,
)


@pytest.mark.parametrize(
    ("rtt_ms", "expected_s"), [(None, 1.0), (0.1, 0.15), (100.0, 0.3), (333.0, 0.999), (600.0, 1.5)]
)
def test_the_time_for_a_connection_follows_the_round_trip(rtt_ms, expected_s):
    assert connect_timeout_s(rtt_ms) == pytest.approx(expected_s)


@pytest.mark.parametrize(("rtt_ms", "expected_s"), [(0.0, 0.5), (100.0, 0.5), (250.0, 0.75), (900.0, 1.0)])
def test_a_guess_shuts_nobody_out(rtt_ms, expected_s):
    assert connect_timeout_s(rtt_ms, measured=False) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("predicted_s", "rtt_ms", "expected_s"),
    [(0.0, None, 0.3), (0.4, 100.0, 0.425), (30.0, 10.0, 0.7), (0.6, None, 0.6)],
)
def test_when_a_silent_node_is_looked_at(predicted_s, rtt_ms, expected_s):
    assert first_check_s(predicted_s, rtt_ms) == pytest.approx(expected_s)


def test_a_node_that_lives_is_looked_at_more_rarely():
    assert [next_check_s(pause_s) for pause_s in (0.5, 4.0, 8.0, 10.0)] == [1.0, 8.0, 10.0, 10.0]
    assert [check_timeout_s(rtt_ms) for rtt_ms in (None, 1.0, 200.0, 900.0)] == pytest.approx(
        [1.0, 0.5, 0.6, 1.0]
    )


def test_a_hanging_node_is_found_within_two_seconds():
    worst_s = max(
        first_check_s(predicted_s, rtt_ms) + check_timeout_s(rtt_ms)
        for predicted_s in (0.0, 0.1, 1.0, 60.0)
        for rtt_ms in (None, 0.0, 50.0, 400.0, 2000.0)
    )
    assert worst_s <= 2.0


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_before_second_tries(tries, chance):
    pause_s = backoff_s(tries, lambda: chance)
    assert 0 <= pause_s < 1.0
    assert backoff_s(1, lambda: chance) <= 0.025
