"""MemoryStore: a store in a dict, for tests and examples."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from registry.digest import digest_of
from registry.errors import ObjectMissingError, PreconditionFailedError, StoreError
from registry.store import ObjectInfo, StoredObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class MemoryStore:
    """An `ObjectStore` that lives as long as the process; safe from several threads. `now_unix_s` is its clock."""

    def __init__(self, *, now_unix_s: Callable[[], float] = time.time) -> None:
        self._objects: dict[str, bytes] = {}
        self._written_unix_s: dict[str, float] = {}
        self._now_unix_s = now_unix_s
        self._lock = threading.Lock()

    def get(self, key: str) -> StoredObject:
        """The whole object."""
        data = self._data(key)
        return StoredObject(data, digest_of(data))

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range."""
        data = self._data(key)
        if offset_bytes < 0 or length_bytes < 1 or offset_bytes + length_bytes > len(data):
            raise StoreError(
                f"{key} has {len(data)} bytes; {length_bytes} bytes from {offset_bytes} on are not all in it"
            )
        return data[offset_bytes : offset_bytes + length_bytes]

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag."""
        with self._lock:
            data = self._objects.get(key)
            return None if data is None else self._info(key, data)

    def put_if_absent(self, key: str, data: bytes | bytearray) -> bool:
        """Write an immutable object."""
        with self._lock:
            if key in self._objects:
                return False
            self._write(key, data)
            return True

    def put_if_match(self, key: str, data: bytes, etag: str | None) -> str:
        """Replace the object that had this etag."""
        with self._lock:
            before = self._objects.get(key)
            if (None if before is None else digest_of(before)) != etag:
                raise PreconditionFailedError(
                    f"someone else wrote {key} first; read it again and redo the change"
                )
            self._write(key, data)
        return digest_of(data)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, by key."""
        with self._lock:
            found = [
                self._info(key, data) for key, data in sorted(self._objects.items()) if key.startswith(prefix)
            ]
        yield from found

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._lock:
            self._objects.pop(key, None)

    def _write(self, key: str, data: bytes | bytearray) -> None:
        self._objects[key] = bytes(data)
        self._written_unix_s[key] = self._now_unix_s()

    def _info(self, key: str, data: bytes) -> ObjectInfo:
        return ObjectInfo(key, len(data), digest_of(data), self._written_unix_s[key])

    def _data(self, key: str) -> bytes:
        with self._lock:
            data = self._objects.get(key)
        if data is None:
            raise ObjectMissingError(f"the store has no object {key}")
        return data
