"""RateLimit: so many answers a second to one network, so that forged questions turn no origin into a weapon.

Response rate limiting as name servers do it (P. Vixie and V. Schryver, "DNS Response Rate Limiting", ISC-TN-2012-1):
past the limit every second question gets a truncated answer, no longer than the question, and a real resolver comes
back over TCP, which nobody can forge; the others get nothing.
"""

from __future__ import annotations

from typing import Literal

Verdict = Literal["answer", "slip", "drop"]

_WINDOW_S = 1.0
_V4_BYTES, _KEPT_V4_BYTES, _KEPT_V6_BYTES = 4, 3, 7


class RateLimit:
    """Counts answers within windows of a second; what it remembers is one number for each network of the window.

    Args:
        per_s: answers a second to one /24 or /56; 0 is no limit.
    """

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._counts: dict[bytes, int] = {}
        self._ends_s = float("-inf")

    def verdict(self, address: bytes, now_s: float) -> Verdict:
        """What to do with a question from an address of 4 or 16 bytes."""
        if not self._per_s:
            return "answer"
        if now_s >= self._ends_s:
            self._counts = {}
            self._ends_s = now_s + _WINDOW_S
        network = address[: _KEPT_V4_BYTES if len(address) == _V4_BYTES else _KEPT_V6_BYTES]
        count = self._counts.get(network, 0) + 1
        self._counts[network] = count
        if count <= self._per_s:
            return "answer"
        return "slip" if (count - self._per_s) % 2 else "drop"
