"""When a release that failed is tried again, and what is said of it."""

import pytest

from edge_node.setbacks import Setbacks
from registry.errors import FormatInvalidError, StoreUnavailableError

KEY, OTHER = ("chat", "1"), ("chat", "2")


@pytest.fixture
def setbacks():
    return Setbacks()


def test_the_pause_doubles_up_to_half_a_minute(setbacks):
    away = StoreUnavailableError("the store is away")
    pauses_s = [setbacks.note(KEY, away, 100.0).pause_s for _ in range(7)]
    assert pauses_s == [1, 2, 4, 8, 16, 30, 30]
    assert setbacks.until_s() == {KEY: 130.0}
    for _ in range(2000):  # no power of two grows past what a float holds
        setbacks.note(KEY, away, 100.0)
    assert setbacks.of(KEY).pause_s == 30


def test_what_would_fail_again_is_tried_rarely(setbacks):
    assert setbacks.note(KEY, FormatInvalidError("the bytes are others"), 0.0).pause_s == 300


def test_what_is_said_of_it(setbacks):
    assert setbacks.of(KEY) is None
    assert setbacks.note(KEY, StoreUnavailableError("the store is away"), 0.0).detail == "the store is away"
    again = setbacks.note(KEY, ValueError("a defect"), 0.0)
    assert (again.detail, again.count) == ("ValueError: a defect", 2)


def test_what_came_through_begins_anew_and_the_others_stay(setbacks):
    for key in (KEY, KEY, OTHER):
        setbacks.note(key, ValueError("a defect"), 0.0)
    setbacks.forget(KEY)
    setbacks.forget(KEY)
    assert setbacks.note(KEY, ValueError("a defect"), 0.0).count == 1
    setbacks.forget_all_but({OTHER})
    assert set(setbacks.until_s()) == {OTHER}
