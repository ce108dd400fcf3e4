"""Challenges: once, for a minute, at the origin that gave them."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.errors import ChallengeInvalidError
from origin.identity.challenges import TTL_S, Challenges

NOW_S = 1_800_000_000.0


def test_each_is_good_once():
    desk = Challenges(b"k" * 32)
    first, second = desk.give(b"a" * 16, NOW_S), desk.give(b"b" * 16, NOW_S)
    assert first != second
    assert len(first) == 75
    desk.take(first, NOW_S + 1)
    with pytest.raises(ChallengeInvalidError, match="used before"):
        desk.take(first, NOW_S + 2)
    desk.take(second, NOW_S + TTL_S - 0.001)


def test_a_minute_and_no_longer_also_when_it_was_used():
    desk = Challenges(b"k" * 32)
    late, used = desk.give(b"a" * 16, NOW_S), desk.give(b"b" * 16, NOW_S)
    desk.take(used, NOW_S)
    for challenge in (late, used):
        with pytest.raises(ChallengeInvalidError):
            desk.take(challenge, NOW_S + TTL_S)
    assert desk._used == {}  # and memory is given back


def test_of_a_clock_that_went_back_and_of_another_process():
    desk = Challenges(b"k" * 32)
    with pytest.raises(ChallengeInvalidError, match="good for"):
        desk.take(desk.give(b"a" * 16, NOW_S + 3600), NOW_S)
    with pytest.raises(ChallengeInvalidError, match="gave no such"):
        Challenges(b"l" * 32).take(desk.give(b"a" * 16, NOW_S), NOW_S)


def test_another_spelling_of_the_same_bytes_is_no_other_challenge():
    desk = Challenges(b"k" * 32)
    given_ = desk.give(b"a" * 16, NOW_S)
    desk.take(given_, NOW_S)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for last in alphabet:
        with pytest.raises(ChallengeInvalidError):
            desk.take(given_[:-1] + last, NOW_S)


@given(st.integers(0, 55), st.integers(1, 255))
def test_no_byte_may_differ(at, by):
    from base64 import urlsafe_b64decode

    desk = Challenges(b"k" * 32)
    whole = bytearray(urlsafe_b64decode(desk.give(b"a" * 16, NOW_S) + "="))
    whole[at] ^= by
    with pytest.raises(ChallengeInvalidError):
        desk.take(urlsafe_b64encode(bytes(whole)).rstrip(b"=").decode(), NOW_S)


@given(st.text(max_size=90))
def test_nonsense_is_refused(text):
    with pytest.raises(ChallengeInvalidError):
        Challenges(b"k" * 32).take(text, NOW_S)
