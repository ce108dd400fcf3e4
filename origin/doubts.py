"""Doubts: how likely a request to a node is to fail, from what was seen by the way: reports of failures, missed beats.

Nothing is probed for it. Failures, requests that arrived and heartbeats are counted with weights that halve every
10 s, so that a node is forgiven as fast as it proves itself; a node that comes back after a silence starts
with doubt, which keeps everybody from turning to it at once. One reporter counts once in ten seconds, and one alone
for a third: a client cannot talk a node down.
"""

from __future__ import annotations

_HALF_LIFE_S = 10.0
_REPORTER_PAUSE_S = 10.0
_REPORTERS_LIMIT_COUNT = 32
_REMEMBERED_S = 30.0
_BELIEVED_COUNT = 3
_MISSED_LIMIT_COUNT = 3.0
_NOTICED_SHARE = 0.005
_LATE_BEATS = 1.5
"""A heartbeat is missed when the next one comes later than this many periods after the last."""


class Doubts:
    """What speaks against one node, and for it, as of `at_s`."""

    __slots__ = ("_arrived", "_at_s", "_beats", "_failed", "_missed", "_reporters", "_share")

    def __init__(self, now_s: float) -> None:
        self._at_s = now_s
        self._failed = 0.0
        self._arrived = 0.0
        self._missed = 0.0
        self._beats = 0.0
        self._reporters: dict[str, float] = {}
        self._share: float | None = None  # asked far more often than it changes

    def note_beat(self, silent_s: float, heartbeat_s: float, arrived_count: int, now_s: float) -> None:
        """A heartbeat came, after a silence, and spoke of requests that had arrived since the one before."""
        self._share = None
        self._fade(now_s)
        if silent_s > _LATE_BEATS * heartbeat_s:
            self._missed = min(_MISSED_LIMIT_COUNT, self._missed + silent_s / heartbeat_s - 1)
        self._beats += 1
        self._arrived += arrived_count

    def note_failure(self, reporter: str, now_s: float) -> bool:
        """Somebody's request failed there; False where this reporter has just said so."""
        self._share = None
        heard_s = self._reporters.pop(reporter, None)
        fresh = heard_s is None or now_s - heard_s >= _REPORTER_PAUSE_S
        self._reporters[reporter] = now_s if fresh or heard_s is None else heard_s
        if len(self._reporters) > _REPORTERS_LIMIT_COUNT:
            del self._reporters[next(iter(self._reporters))]
        if fresh:
            self._fade(now_s)
            self._failed += 1
        return fresh

    def failure_share(self) -> float:
        """The probability that a request fails, from 0 to below 1.

        As of the last event: it changes when something happens, not with time alone, so that what is worked out of
        it stays good in between.
        """
        if self._share is None:
            self._share = self._worked_out()
        return self._share

    def _worked_out(self) -> float:
        recent_count = sum(self._at_s - heard_s < _REMEMBERED_S for heard_s in self._reporters.values())
        believed = min(1.0, recent_count / _BELIEVED_COUNT)
        of_requests = believed * self._failed / (self._failed + self._arrived + 1)
        of_beats = self._missed / (self._missed + self._beats + 1)
        share = 1 - (1 - of_requests) * (1 - of_beats)
        return share if share > _NOTICED_SHARE else 0.0

    def _fade(self, now_s: float) -> None:
        past_s = now_s - self._at_s
        if past_s > 0:
            share = 0.5 ** (past_s / _HALF_LIFE_S)
            self._failed *= share
            self._arrived *= share
            self._missed *= share
            self._beats *= share
            self._at_s = now_s
