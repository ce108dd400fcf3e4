"""CountingStore: a store that counts what is asked of it, for the report of a publish."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.store import ObjectInfo, ObjectStore, StoredObject


class CountingStore:
    """An `ObjectStore` around another one.

    Attributes:
        requests_count: calls made so far; a retried call counts once, a listing counts once.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.requests_count = 0
        self._inner = store
        self._lock = threading.Lock()

    def get(self, key: str) -> StoredObject:
        """The whole object."""
        return self._counted().get(key)

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range."""
        return self._counted().get_range(key, offset_bytes, length_bytes)

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag."""
        return self._counted().head(key)

    def put_if_absent(self, key: str, data: bytes | bytearray) -> bool:
        """Write an immutable object."""
        return self._counted().put_if_absent(key, data)

    def put_if_match(self, key: str, data: bytes, etag: str | None) -> str:
        """Replace the object that had this etag."""
        return self._counted().put_if_match(key, data, etag)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, by key."""
        return self._counted().list(prefix)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._counted().delete(key)

    def _counted(self) -> ObjectStore:
        with self._lock:
            self.requests_count += 1
        return self._inner
