"""The least round trip of the last minutes, and what several reporters agree on.

Queues only ever lengthen a round trip, so the least of a few samples is the path; but a path changes, so the least
must be of the last minutes alone (as BBR keeps it: N. Cardwell et al., "BBR: Congestion-Based Congestion Control",
ACM Queue 14(5), 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

_SURE_COUNT = 10


@dataclass(slots=True)
class RollingMinimum:
    """The least of one reporter's samples over one to two spans of time, in memory for two numbers.

    Attributes:
        span_s: a sample counts for at least this long, and for at most twice as long.
        count: how many samples have been taken in since the older span began.
        seen_s: when the newest was measured.
    """

    span_s: float
    began_s: float
    least_ms: float
    before_ms: float | None = None
    count: int = 0
    seen_s: float = 0.0

    def add(self, rtt_ms: float, count: int, at_s: float) -> None:
        """Take in the least of `count` samples measured at `at_s`; an older one than the newest counts as that old."""
        if at_s - self.began_s >= 2 * self.span_s:
            self.began_s, self.least_ms, self.before_ms, self.count = at_s, rtt_ms, None, 0
        elif at_s - self.began_s >= self.span_s:
            self.began_s, self.before_ms, self.least_ms = at_s, self.least_ms, rtt_ms
        else:
            self.least_ms = min(self.least_ms, rtt_ms)
        self.count = min(self.count + count, 1_000_000)
        self.seen_s = max(self.seen_s, at_s)

    @property
    def rtt_ms(self) -> float:
        """The least."""
        return self.least_ms if self.before_ms is None else min(self.least_ms, self.before_ms)


def first_sample(span_s: float, rtt_ms: float, count: int, at_s: float) -> RollingMinimum:
    """A rolling minimum of one sample."""
    return RollingMinimum(span_s, at_s, rtt_ms, None, count, at_s)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What reporters agree on; `count` is what stands behind it: voices, or samples of one kernel, at most 10.

    `sure` says that kernels of nodes have seen it.
    """

    rtt_ms: float
    count: int
    seen_s: float
    sure: bool


class Voices:
    """One round trip as several reporters tell it: the median of each one's least, so that no one alone can move it.

    Whoever spoke least recently makes room for a new one. A node's kernel, which no client can make believe that a
    path is shorter than it is, counts alone while it is fresh; so do voices that stand for kernels, before mere
    claims, which count from `claims_least_count` voices on.
    """

    __slots__ = (
        "_agreed", "_agreed_until_s", "_claims", "_claims_least_count", "_limit_count", "_span_s", "_sure", "_voices",
    )  # fmt: skip

    def __init__(self, span_s: float, limit_count: int, claims_least_count: int = 1) -> None:
        self._span_s = span_s
        self._limit_count = limit_count
        self._claims_least_count = claims_least_count
        self._voices: dict[str, RollingMinimum] = {}
        self._claims: dict[str, RollingMinimum] = {}
        self._sure: RollingMinimum | None = None
        self._agreed: Agreed | None = None
        self._agreed_until_s = -math.inf  # asked far more often than told

    def say(self, reporter: str, rtt_ms: float, count: int, at_s: float, *, claim: bool) -> None:
        """Take in what a reporter measured, or claims to have."""
        self._agreed_until_s = -math.inf
        voices = self._claims if claim else self._voices
        known = voices.pop(reporter, None)
        if known is None:
            known = first_sample(self._span_s, rtt_ms, count, at_s)
            if len(voices) >= self._limit_count:
                del voices[next(iter(voices))]
        else:
            known.add(rtt_ms, count, at_s)
        voices[reporter] = known

    def say_surely(self, rtt_ms: float, count: int, at_s: float) -> None:
        """Take in what a node's kernel measured."""
        self._agreed_until_s = -math.inf
        if self._sure is None:
            self._sure = first_sample(self._span_s, rtt_ms, count, at_s)
        else:
            self._sure.add(rtt_ms, count, at_s)

    def agreed(self, now_s: float) -> Agreed | None:
        """What stands now; None when nothing fresh is, two spans being old."""
        if now_s > self._agreed_until_s:
            self._agreed, oldest_seen_s = self._agree(now_s)
            self._agreed_until_s = oldest_seen_s + 2 * self._span_s
        return self._agreed

    def _agree(self, now_s: float) -> tuple[Agreed | None, float]:
        """The same worked out, with when the oldest was seen that counts in it."""
        oldest_s = now_s - 2 * self._span_s
        sure = self._sure
        if sure is not None and sure.seen_s >= oldest_s:
            return Agreed(sure.rtt_ms, min(sure.count, _SURE_COUNT), sure.seen_s, True), sure.seen_s
        fresh = [voice for voice in self._voices.values() if voice.seen_s >= oldest_s]
        seen = bool(fresh)
        if not seen:
            fresh = [voice for voice in self._claims.values() if voice.seen_s >= oldest_s]
            if not fresh or len(fresh) < self._claims_least_count:
                return None, math.inf  # until somebody speaks
        times_s = [voice.seen_s for voice in fresh]
        agreed = Agreed(median([voice.rtt_ms for voice in fresh]), len(fresh), max(times_s), seen)
        return agreed, min(times_s)
