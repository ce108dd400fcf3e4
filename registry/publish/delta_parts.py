"""DeltaParts: a delta on its way into the store, never more of it in memory than one part.

A small one becomes one object: head and bodies. A larger one's bodies go up in parts as they come, and the head, which
says how long each is and so can only be made at the end, is an object by itself, written last: without it nobody looks
for the parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.delta import starts_part
from registry.layout import delta_key

if TYPE_CHECKING:
    from registry.digest import Digest
    from registry.store import ObjectStore


class DeltaParts:
    """Takes the bodies of a delta in order.

    Attributes:
        total_bytes: of the bodies so far.
    """

    def __init__(self, store: ObjectStore, new: Digest, base: Digest) -> None:
        self.total_bytes = 0
        self._store = store
        self._new = new
        self._base = base
        self._bodies: list[bytes] = []
        self._held_bytes = 0
        self._parts_count = 0
        self._uploaded_bytes = 0

    def add(self, body: bytes) -> None:
        """Take the next body."""
        if starts_part(self._held_bytes, len(body)):
            self._flush()
        self._bodies.append(body)
        self._held_bytes += len(body)
        self.total_bytes += len(body)

    def finish(self, head: bytes) -> int:
        """Write what is left, and so the delta is there; how many bytes the store did not have."""
        if self._parts_count:
            self._flush()
        self._put(0, b"".join((head, *self._bodies)))
        return self._uploaded_bytes

    def give_up(self) -> int:
        """Take back what was written; nothing of the delta is there, so 0 bytes were."""
        for part in range(1, self._parts_count + 1):
            self._store.delete(delta_key(self._new, self._base, part))
        return 0

    def _flush(self) -> None:
        self._parts_count += 1
        self._put(self._parts_count, b"".join(self._bodies))
        self._bodies, self._held_bytes = [], 0

    def _put(self, part: int, data: bytes) -> None:
        if self._store.put_if_absent(delta_key(self._new, self._base, part), data):
            self._uploaded_bytes += len(data)
