"""How long to wait for a connection, for a sign of life and before a second try; seconds, no clock read here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_LEAST_S = 0.15
CONNECT_GUESSED_LEAST_S = 0.5
CONNECT_MOST_S = 1.0
FIRST_CHECK_LEAST_S = 0.3
FIRST_CHECK_MOST_S = 0.7
CHECKS_APART_MOST_S = 10.0
CHECK_LEAST_S = 0.5
CHECK_MOST_S = 1.0
BACKOFF_S = 0.025
BACKOFF_MOST_S = 1.0


def connect_timeout_s(rtt_ms: float | None, *, measured: bool = True) -> float:
    """How long to wait for a connection: three round trips, from 150 ms to 1 s; 1 s when none is known.

    A round trip that was only guessed may be far too short, and would then shut out every node: half a second is
    the least for it. One that was measured over 400 ms gets 2.5 of them, which TCP and TLS need.
    """
    if rtt_ms is None:
        return CONNECT_MOST_S
    least_s = CONNECT_LEAST_S if measured else CONNECT_GUESSED_LEAST_S
    most_s = max(CONNECT_MOST_S, 2.5 * rtt_ms / 1000) if measured else CONNECT_MOST_S
    return min(max(3 * rtt_ms / 1000, least_s), most_s)


def first_check_s(predicted_s: float, rtt_ms: float | None) -> float:
    """When to ask whether a node that has not begun to answer lives: a quarter round trip after the predicted time.

    The prediction has one round trip in it. From 0.3 s, since nodes' guesses are rough, to 0.7 s: to ask costs next to
    nothing, and a node that hangs must not hold a request for longer. So the second round trip that a new connection
    takes is not waited for.
    """
    expected_s = predicted_s + 0.25 * (rtt_ms or 0.0) / 1000
    return min(max(expected_s, FIRST_CHECK_LEAST_S), FIRST_CHECK_MOST_S)


def next_check_s(before_s: float) -> float:
    """When to ask again: twice as late each time, 10 s at most."""
    return min(2 * before_s, CHECKS_APART_MOST_S)


def check_timeout_s(rtt_ms: float | None) -> float:
    """How long a living node may take to say so: three round trips, from 0.5 s (it may be busy) to 1 s."""
    if rtt_ms is None:
        return CHECK_MOST_S
    return min(max(3 * rtt_ms / 1000, CHECK_LEAST_S), CHECK_MOST_S)


def backoff_s(tries_count: int, chance: Callable[[], float]) -> float:
    """A pause before a second try, anywhere from nothing to a limit that doubles: 25, 50, 100 ms …, at most 1 s.

    "Full jitter" of M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    limit_s: float = min(BACKOFF_S * 2 ** min(max(0, tries_count - 1), 16), BACKOFF_MOST_S)
    return chance() * limit_s
