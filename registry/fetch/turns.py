"""Who fetches what first, when several nodes fetch the same release at once: decided alike on all of them.

Highest random weight, or rendezvous, hashing (D. G. Thaler and C. V. Ravishankar, "Using Name-Based Mappings to
Increase Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998): every node ranks the nodes for a share of the
release in the same way, without a word between them, and when one of them goes only its own shares move.
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

SHARE_BYTES = 4 * 1024 * 1024
"""How much of a pack is one node's turn: small, so that all nodes soon have something that the others lack."""


class Share(NamedTuple):
    """Stored chunks that lie together, which one node reads from the origin for all. `chunks` are the caller's numbers.

    `key` is the same on every node, however much of the share it has already.
    """

    key: str
    chunks: tuple[int, ...]


def shares_of(places: Iterable[tuple[int, str, int]]) -> list[Share]:
    """Chunks by share; each is `(chunk, digest of its pack, offset in it in bytes)`."""
    groups: dict[str, list[int]] = {}
    for chunk, pack, offset_bytes in sorted(places, key=lambda place: place[1:]):
        groups.setdefault(f"{pack}:{offset_bytes // SHARE_BYTES}", []).append(chunk)
    return [Share(key, tuple(chunks)) for key, chunks in groups.items()]


@functools.lru_cache(maxsize=65_536)
def weight(node: str, key: str) -> int:
    """How much a node is meant for a key: a number that is as good as random, and the same everywhere."""
    return int.from_bytes(hashlib.sha256(f"{node}\0{key}".encode()).digest()[:8], "big")


def rank(node: str, others: Collection[str], key: str) -> int:
    """How many of the others come before a node at this key; 0 means that it is this node's turn."""
    own = (weight(node, key), node)
    return sum((weight(other, key), other) > own for other in others)


def own_order(node: str, shares: Iterable[Share]) -> list[Share]:
    """The shares in an order of this node's own, so that nodes that begin together begin at different places."""
    return sorted(shares, key=lambda share: (weight(node, share.key), share.key), reverse=True)


def may_take_others(
    *, now_s: float, gained_s: float, turn_ended_s: float, turn_took_s: float, patience_s: float
) -> bool:
    """Whether a node that is through with its own shares may read those of others from the origin.

    It waits while the others give it something new: they take about as long as it took itself, and may be half as
    slow again. But nobody waits for the slowest for ever.

    Args:
        now_s: the time.
        gained_s: when it last got a chunk from a peer.
        turn_ended_s: when it was through with its own shares.
        turn_took_s: how long they took.
        patience_s: how long to wait for anything new at all.
    """
    silent = now_s - max(gained_s, turn_ended_s) >= patience_s + turn_took_s / 2
    return silent or now_s - turn_ended_s >= patience_s + 2 * turn_took_s


class Pace:
    """How long reads of this fetch take, and so from when on one of them is slow. Times are for each MiB."""

    _LEAST_COUNT = 20
    _KEPT_COUNT = 512
    _LEAST_BYTES = 64 * 1024  # a small read costs its round trip, not its bytes
    _MIB = 1024 * 1024

    def __init__(self, *, least_s: float = 0.2) -> None:
        self._least_s = least_s
        self._per_mib_s: list[float] = []

    def note(self, length_bytes: int, took_s: float) -> None:
        """Remember a read that was done."""
        self._per_mib_s.append(took_s * self._MIB / max(length_bytes, self._LEAST_BYTES))
        del self._per_mib_s[: -self._KEPT_COUNT]

    def slow_after_s(self, length_bytes: int) -> float | None:
        """When to ask a second source: past the 95th percentile so far; None while there is too little to go by."""
        if len(self._per_mib_s) < self._LEAST_COUNT:
            return None
        expected_s = percentile(self._per_mib_s, 0.95) * max(length_bytes, self._LEAST_BYTES) / self._MIB
        return max(self._least_s, expected_s)


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def bits_of(held: Iterable[bool]) -> bytes:
    """A bitmap: the bit of number n is bit n % 8 of byte n // 8."""
    bitmap = bytearray()
    for number, is_held in enumerate(held):
        if number % 8 == 0:
            bitmap.append(0)
        bitmap[-1] |= is_held << (number % 8)
    return bytes(bitmap)
