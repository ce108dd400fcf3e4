"""What steps cost, and when everyone's guesses rest."""

import pytest

from edge_node.engines.llama.guess_worth import StepTimes, Worth


def dear_times():
    """A second row takes half as long as the first."""
    times = StepTimes()
    for rows_count in range(1, 6):
        times.note(rows_count, 0.005 + 0.005 * rows_count)
    return times


def window(worth, accepted_of_four, *, answers_count=1):
    """64 steps of four guesses each, of which so many come true."""
    for _ in range(64):
        worth.stepped(answers_count=answers_count, rows_count=answers_count + 4, times=dear_times())
        worth.guessed(4, accepted_of_four)


def rest_steps(worth):
    """How many steps it rests now."""
    count = 0
    while worth.resting:
        worth.stepped(answers_count=1, rows_count=1, times=dear_times())
        count += 1
    return count


def test_a_size_that_was_not_timed_is_estimated():
    times = StepTimes()
    assert times.cost(1) == 1
    assert times.cost(5) > times.cost(2) > 1
    times.note(1, 0.01)
    times.note(5, 0.05)
    assert times.cost(5) == pytest.approx(5)
    assert times.cost(3) == pytest.approx(3)
    assert times.cost(8) == pytest.approx(8)
    times.note(3, 0.01)
    assert times.cost(2) == pytest.approx(1)
    assert times.cost(4) == pytest.approx(3)
    assert 5 in times
    assert 4 not in times


def test_rows_beyond_one_measured_size_are_assumed_and_never_gain_time():
    times = StepTimes()
    times.note(4, 0.01)
    assert times.cost(4) < times.cost(5) < 1.3 * times.cost(4)
    times.note(6, 0.005)
    assert times.cost(8) == times.cost(6)


def test_what_was_measured_long_ago_is_tried_again():
    times = StepTimes()
    times.note(5, 1.0)
    for _ in range(3 * 4096):
        times.note(1, 0.01)
    assert 5 not in times
    assert times.cost(5) < 5


def test_one_step_that_waited_says_little():
    times = StepTimes()
    times.note(1, 0.01)
    times.note(2, 0.02)
    times.note(2, 10.0)
    assert times.cost(2) == pytest.approx(2.4)


@pytest.mark.parametrize(("accepted_of_four", "rests"), [(0, True), (1, True), (2, False), (4, False)])
def test_everyone_rests_where_guesses_took_longer_than_they_gave(accepted_of_four, rests):
    # Five rows take as long as three steps of one.
    worth = Worth()
    assert not worth.resting
    window(worth, accepted_of_four)
    assert worth.resting is rests


def test_a_few_bad_guesses_prove_nothing():
    worth = Worth()
    for _ in range(63):
        worth.stepped(answers_count=1, rows_count=5, times=dear_times())
        worth.guessed(4, 0)
    assert not worth.resting


def test_guesses_of_one_must_pay_for_all_in_the_batch():
    # Among eight sequences, nine rows instead of eight take a tenth longer, and that is eight tenths of a token.
    times = StepTimes()
    for rows_count in range(1, 20):
        times.note(rows_count, 0.002 + 0.001 * rows_count)
    for accepted_of_two, rests in ((True, False), (False, True)):
        worth = Worth()
        for step in range(256):
            worth.stepped(answers_count=8, rows_count=9, times=times)
            worth.guessed(1, int(accepted_of_two or step % 2))
        assert worth.resting is rests


def test_rests_grow_until_guesses_pay_again():
    worth, rests = Worth(), []
    for _ in range(8):
        window(worth, 0)
        rests.append(rest_steps(worth))
    assert rests[:3] == [1024, 2048, 4096]
    assert rests[-2] == rests[-1] == 1 << 15
    window(worth, 4)
    assert not worth.resting
    window(worth, 0)
    assert rest_steps(worth) == 1024


def test_steps_without_guesses_neither_gain_nor_lose():
    worth = Worth()
    for _ in range(1000):
        worth.stepped(answers_count=3, rows_count=3, times=dear_times())
    window(worth, 2)
    assert not worth.resting
