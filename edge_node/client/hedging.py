"""When a request that is late is sent to a second node: after the first one's 95th percentile.

J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013. Only for short work that
may be done twice: never for text.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import NamedTuple

SAMPLES_LEAST_COUNT = 20
SAMPLES_MOST_COUNT = 100
_KEYS_COUNT = 512
_QUANTILE = 0.95


class Work(NamedTuple):
    """What one node's requests are compared by; a body four times as large is another size."""

    node_id: str
    path: str
    model: str
    size: int


def work_of(node_id: str, path: str, model: str, body_bytes: int) -> Work:
    """The work that a body of so many bytes asks of a node."""
    return Work(node_id, path, model, body_bytes.bit_length() // 2)


class Latencies:
    """The last hundred times of each kind of work on each node."""

    def __init__(self) -> None:
        self._times_s: OrderedDict[Work, deque[float]] = OrderedDict()

    def learn(self, work: Work, took_s: float) -> None:
        """A request of this kind was answered."""
        times_s = self._times_s.get(work)
        if times_s is None:
            times_s = self._times_s[work] = deque(maxlen=SAMPLES_MOST_COUNT)
            if len(self._times_s) > _KEYS_COUNT:
                self._times_s.popitem(last=False)
        self._times_s.move_to_end(work)
        times_s.append(took_s)

    def hedge_after_s(self, work: Work) -> float | None:
        """The 95th percentile; None before there are 20 times, since less says nothing of it."""
        times_s = self._times_s.get(work, ())
        if len(times_s) < SAMPLES_LEAST_COUNT:
            return None
        return sorted(times_s)[math.ceil(_QUANTILE * len(times_s)) - 1]
