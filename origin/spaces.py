"""Spaces: of the spaces of vectors that a model's nodes give, the one that requests get which do not insist on one.

Vectors of two spaces cannot be compared, and whoever fills an index asks many times. So at one moment all get the
same: that of most nodes that answer. While a release with a new space comes in, it takes over when it can carry the
load, and not with the first node that has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.member import space_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from origin.pool import Pool, PoolKey

_KEPT_S = 0.25
UNKNOWN = ""
"""Nodes whose release does not say its space: one more, of which nobody knows more."""


class Spaces:
    """Which spaces there are of each model, on each channel."""

    def __init__(self) -> None:
        self._there: dict[PoolKey, set[str]] = {}
        self._chosen: dict[PoolKey, tuple[float, str]] = {}

    def opened(self, key: PoolKey) -> None:
        """There is a pool of this name now."""
        name, hash_sign, space = key[0].partition("#")
        if hash_sign:
            self._there.setdefault((name, key[1]), set()).add(space)
            self._chosen.pop((name, key[1]), None)

    def closed(self, key: PoolKey) -> None:
        """There is none any more."""
        name, hash_sign, space = key[0].partition("#")
        if hash_sign:
            there = self._there[name, key[1]]
            there.discard(space)
            self._chosen.pop((name, key[1]), None)
            if not there:
                del self._there[name, key[1]]

    def chosen(
        self,
        name: str,
        channel: str | None,
        version: str | None,
        pool: Callable[[str, str | None], Pool],
        now_s: float,
    ) -> str | None:
        """The space of most nodes that answer, of equals the first by name; None where nobody speaks of any space."""
        key = (name, channel)
        if key not in self._there:
            return None
        kept = self._chosen.get(key)
        if version is None and kept is not None and now_s < kept[0]:
            return kept[1]
        counts = {
            space: _answering_count(pool(space_name(name, space), channel), version)
            for space in self._there[key]
        }
        counts[UNKNOWN] = _answering_count(pool(name, channel), version) - sum(counts.values())
        best = min(counts, key=lambda space: (-counts[space], space == UNKNOWN, space))
        if version is None:
            self._chosen[key] = (now_s + _KEPT_S, best)
        return best


def _answering_count(pool: Pool, version: str | None) -> int:
    return sum(
        seat.member.open and any(offer.answers and version in {None, offer.version} for offer in seat.offers)
        for seat in pool.seats.values()
    )
