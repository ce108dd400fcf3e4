"""Source: whoever can give ranges of packs; a store is one, the origin another, peers later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from registry.errors import ObjectMissingError
from registry.layout import deltas_prefix

if TYPE_CHECKING:
    from registry.digest import Digest
    from registry.store import ObjectStore


class Source(Protocol):
    """Gives bytes by key. Needs no trust: all that comes from it is checked against digests."""

    @property
    def name(self) -> str:
        """What it is called in progress and logs, such as `origin`."""
        ...

    async def read_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range of the object; any EdgewardError ends the fetch, which can be resumed."""
        ...


class StoreSource:
    """A `Source` that reads from an object store itself, in threads."""

    name = "store"

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def read_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range of the object."""
        return await asyncio.to_thread(self._store.get_range, key, offset_bytes, length_bytes)

    async def delta(self, new: Digest, base: str, offset_bytes: int, limit_bytes: int) -> tuple[bytes, int]:
        """At most so many bytes of a delta from an offset on, and how long it is. Raises ObjectMissingError."""
        return await asyncio.to_thread(self._delta, f"{deltas_prefix(new)}{base}", offset_bytes, limit_bytes)

    def _delta(self, key: str, offset_bytes: int, limit_bytes: int) -> tuple[bytes, int]:
        info = self._store.head(key)
        if info is None:
            raise ObjectMissingError(f"there is no delta {key}")
        length = min(limit_bytes, info.length_bytes - offset_bytes)
        return self._store.get_range(key, offset_bytes, length), info.length_bytes
