"""Source: whoever can give ranges of packs; a store is one, the origin another, peers later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
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
