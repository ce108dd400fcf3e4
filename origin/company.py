"""Company: how many requests reach the nodes for each one that this origin sent, since it may not be the only router.

Heartbeats say how many requests have arrived; what did not come from here came from other origins, from clients with
lists of their own, or was handed on. A node that looks free here looks free there too, so what was sent since its
last heartbeat is taken for this share of what it got.
"""

from __future__ import annotations

_HALF_LIFE_S = 20.0
_LEAST_COUNT = 20.0
_RATIO_LIMIT = 64.0


class Company:
    """Counts with weights that halve every 20 s.

    Attributes:
        ratio: requests that arrive for each one sent from here, at least 1.
    """

    __slots__ = ("_arrived", "_at_s", "_sent", "ratio")

    def __init__(self) -> None:
        self._at_s = 0.0
        self._arrived = 0.0
        self._sent = 0.0
        self.ratio = 1.0

    def note(self, arrived_count: int, sent_count: int, now_s: float) -> None:
        """Between two heartbeats of a node so many requests arrived there, and so many were sent from here."""
        past_s = max(0.0, now_s - self._at_s)
        share = 0.5 ** (past_s / _HALF_LIFE_S)
        self._at_s = max(self._at_s, now_s)
        self._arrived = self._arrived * share + arrived_count
        self._sent = self._sent * share + sent_count
        if self._sent >= 1 and self._arrived >= _LEAST_COUNT:
            self.ratio = min(_RATIO_LIMIT, max(1.0, self._arrived / self._sent))
