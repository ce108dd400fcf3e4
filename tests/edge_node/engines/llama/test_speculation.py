"""Guesses, and when they stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.llama.speculation import Guesser, StepTimes, expected_tokens

CHEAP, DEAR = 0.05, 1.0


def times_of(row_cost):
    times = StepTimes()
    for rows_count in range(1, 30):
        times.note(rows_count, 0.01 * (1 + row_cost * (rows_count - 1)))
    return times


def test_what_followed_the_last_tokens_before_is_the_guess():
    guesser = Guesser(limit_tokens=4)
    tokens = [1, 2, 3, 4, 5, 6, 7, 1, 2, 3]
    assert guesser.guess(tokens, rows_count=1, times=times_of(CHEAP)) == [4, 5, 6, 7]
    assert guesser.guess([*tokens, 9], rows_count=1, times=times_of(CHEAP)) == []


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(0, 5))
def test_a_guess_is_always_what_stood_after_the_same_three_tokens(tokens, limit):
    guesser = Guesser(limit_tokens=limit)
    for end in range(len(tokens) + 1):
        guess = guesser.guess(tokens[:end], rows_count=1, times=times_of(CHEAP))
        assert len(guess) <= limit
        if guess:
            gram = tokens[end - 3 : end]
            assert any(
                tokens[at - 3 : at] == gram and tokens[at : at + len(guess)] == guess for at in range(3, end)
            )


def test_where_rows_cost_as_much_as_steps_nothing_is_guessed():
    guesser = Guesser(limit_tokens=4)
    assert guesser.guess([1, 2, 3] * 3, rows_count=1, times=times_of(DEAR)) == []
    assert guesser.guess([1, 2, 3] * 3, rows_count=16, times=times_of(DEAR)) == []


def test_a_sequence_whose_guesses_fail_rests_ever_longer():
    guesser, times = Guesser(limit_tokens=4), times_of(0.3)
    tokens, tries = [1, 2, 3] * 3, []
    for step in range(1000):
        guess = guesser.guess(tokens, rows_count=1, times=times)
        if guess:
            guesser.note(len(guess), 0)
            tries.append(step)
    assert len(tries) < 30
    assert len([step for step in tries if step > 500]) < 8


def test_a_sequence_whose_guesses_come_true_goes_on():
    guesser, times = Guesser(limit_tokens=4), times_of(0.3)
    for _ in range(100):
        guess = guesser.guess([1, 2, 3, 4] * 3, rows_count=1, times=times)
        assert len(guess) >= 3
        guesser.note(len(guess), len(guess))
    assert len(guess) == 4


@pytest.mark.parametrize(("acceptance", "count", "expected"), [(0.5, 0, 1), (0.5, 2, 1.75), (1.0, 3, 4)])
def test_tokens_for_each_step(acceptance, count, expected):
    assert expected_tokens(acceptance, count) == expected


def test_a_size_that_was_not_timed_is_estimated():
    times = StepTimes()
    assert times.cost(1) == 1
    assert times.cost(5) > times.cost(2) > 1
    times.note(1, 0.01)
    times.note(5, 0.05)
    assert times.cost(5) == pytest.approx(5)
