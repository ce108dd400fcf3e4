"""Route keys: told before they are used, and for as long as their tickets live."""

import itertools

import pytest

from origin.route_keys import KEY_LIFE_S, TOLD_AFTER_S, TOLD_AHEAD_S, RouteKeys
from origin.tickets import LIFE_LIMIT_S, Stop, Ticket, read_ticket, verifiers

TICKET = Ticket("chat", (Stop("a", "http://a.example", 0.1, 10.0),), 60.0)


@pytest.fixture
def keys():
    numbers = itertools.count(1)
    return RouteKeys(lambda: bytes([next(numbers)]) * 32)


def test_a_ticket_can_be_read_with_what_nodes_are_told(keys):
    text = keys.sign([TICKET], 0.0)[0]
    assert read_ticket(text, verifiers(keys.public_keys(0.0)), 0.0) == TICKET


def test_every_ticket_is_readable_by_who_heard_ten_seconds_ago_and_as_long_as_it_lives(keys):
    """Whatever moment a ticket is signed at, around a change of keys."""
    steps = [0.0, KEY_LIFE_S - 1, *(KEY_LIFE_S + step for step in range(0, 300, 5))]
    told = {}
    for now_s in steps:
        told[now_s] = verifiers(keys.public_keys(now_s))
        text = keys.sign([TICKET], now_s)[0]
        for heard_s, known in told.items():
            if 0 <= now_s - heard_s <= TOLD_AHEAD_S:
                assert read_ticket(text, known, 0.0) == TICKET, (now_s, heard_s)
        later = now_s + LIFE_LIMIT_S
        assert (
            later < KEY_LIFE_S
            or later not in steps
            or read_ticket(text, told.get(later, known), 0.0) == TICKET
        )


def test_an_old_key_is_told_while_its_last_ticket_lives_and_then_no_more(keys):
    first = keys.public_keys(0.0)
    both = keys.public_keys(KEY_LIFE_S)
    assert len(both) == 2
    assert both[0] == first[0]
    last = keys.sign([TICKET], KEY_LIFE_S + TOLD_AHEAD_S - 0.1)[0]
    at_its_end = verifiers(keys.public_keys(KEY_LIFE_S + TOLD_AHEAD_S + LIFE_LIMIT_S))
    assert read_ticket(last, at_its_end, 0.0) == TICKET
    assert keys.public_keys(KEY_LIFE_S + TOLD_AHEAD_S + TOLD_AFTER_S + 0.1) == both[1:]
