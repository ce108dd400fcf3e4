"""Guesses, and when they stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.llama.guess_worth import StepTimes
from edge_node.engines.llama.speculation import Guesser, Speculation, expected_tokens

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


def test_a_lucky_guess_now_and_then_brings_no_short_rests_back():
    guesser, times = Guesser(limit_tokens=4), times_of(0.3)
    tokens, tries = [1, 2, 3] * 3, []
    for step in range(20_000):
        guess = guesser.guess(tokens, rows_count=1, times=times)
        if guess:
            guesser.note(len(guess), len(guess) if len(tries) % 4 == 3 else 0)
            tries.append(step)
    assert len(tries) < 200


class Text:
    """As much of a generation as is needed here."""

    def __init__(self, tokens):
        self.tokens = tokens


def step(speculation, texts, *, room_count=100, accepted=len):
    """One step in which rows cost a third each; the guesses made in it."""
    guesses = speculation.guesses(texts, room_count=room_count)
    rows_count = len(texts) + sum(map(len, guesses))
    took_s = 0.002 + 0.001 * rows_count
    speculation.stepped(answers_count=len(texts), rows_count=rows_count, took_s=took_s)
    for text, guess in zip(texts, guesses, strict=True):
        if guess:
            speculation.note(text, len(guess), accepted(guess))
    return guesses


def test_a_batch_is_timed_without_guesses_first_and_now_and_then_again():
    speculation, text = Speculation(limit_tokens=4), Text([1, 2, 3, 4] * 3)
    guessed = [bool(step(speculation, [text])[0]) for _ in range(200)]
    assert [at for at, guess in enumerate(guessed) if not guess] == [0, 65, 130, 195]


def test_guesses_keep_to_the_room_that_is_left():
    speculation, texts = Speculation(limit_tokens=4), [Text([1, 2, 3, 4] * 3), Text([5, 6, 7, 8] * 3)]
    for rows_count in range(1, 12):
        speculation.stepped(answers_count=rows_count, rows_count=rows_count, took_s=0.01 + 1e-4 * rows_count)
    assert [len(guess) for guess in step(speculation, texts)] == [4, 4]
    assert [len(guess) for guess in step(speculation, texts, room_count=2)] == [2, 0]
    # As many cells as are free may be fewer than there are answers.
    assert step(speculation, texts, room_count=-2) == [[], []]


def test_without_a_limit_nothing_is_guessed():
    speculation = Speculation(limit_tokens=0)
    assert not any(step(speculation, [Text([1, 2, 3, 4] * 3)])[0] for _ in range(10))


def test_many_short_answers_that_never_repeat_switch_guessing_off():
    speculation, guessed_counts = Speculation(limit_tokens=4), []
    for _ in range(200):
        text = Text([1, 2, 3, 4] * 3)
        guessed_counts.append(sum(len(step(speculation, [text], accepted=lambda _: 0)[0]) for _ in range(20)))
    assert guessed_counts[0] > 0
    assert sum(guessed_counts) < 1000
    assert guessed_counts[-50:] == [0] * 50
