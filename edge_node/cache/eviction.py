"""A bounded store of bytes that drops what was asked for once before what is asked for again: S3-FIFO by size.

Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023): a small queue on probation (a tenth of
the room), a main queue, and a queue of the names (ghosts) that left probation unasked. Most prompts are never
repeated: they pass through the small queue and never push out an answer that is. A hit only raises a counter of
two bits, so reading moves nothing; LRU would, and one scan of new prompts would empty it. Sizes are counted where
the paper counts objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")

_PROBATION_SHARE = 0.1
_COUNT_LIMIT = 3
_LARGEST_SHARE = 0.25  # one entry may not push out most of the others


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    size_bytes: int
    hits_count: int = 0


class BoundedStore(Generic[V]):
    """Values by key, never more than `limit_bytes` of them together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        # Dicts keep the order of insertion: the first key is the head of the queue.
        self._probation: dict[bytes, _Entry[V]] = {}
        self._main: dict[bytes, _Entry[V]] = {}
        self._ghosts: dict[bytes, None] = {}
        self._probation_bytes = 0
        self._main_bytes = 0

    @property
    def used_bytes(self) -> int:
        """What all values count together."""
        return self._probation_bytes + self._main_bytes

    def __len__(self) -> int:
        return len(self._probation) + len(self._main)

    def get(self, key: bytes) -> V | None:
        """The value, if it is still here."""
        entry = self._main.get(key) or self._probation.get(key)
        if entry is None:
            return None
        if entry.hits_count < _COUNT_LIMIT:
            entry.hits_count += 1
        return entry.value

    def put(self, key: bytes, value: V, size_bytes: int) -> bool:
        """Keep a value, replacing what the key had; returns False for one too large to keep."""
        self.discard(key)
        if size_bytes > self._limit_bytes * _LARGEST_SHARE:
            return False
        while self.used_bytes + size_bytes > self._limit_bytes:
            self._evict()
        entry = _Entry(value, size_bytes)
        if key in self._ghosts:
            del self._ghosts[key]
            self._main[key] = entry
            self._main_bytes += size_bytes
        else:
            self._probation[key] = entry
            self._probation_bytes += size_bytes
        return True

    def discard(self, key: bytes) -> None:
        """Forget a key, known or not."""
        if (entry := self._probation.pop(key, None)) is not None:
            self._probation_bytes -= entry.size_bytes
        if (entry := self._main.pop(key, None)) is not None:
            self._main_bytes -= entry.size_bytes

    def _evict(self) -> None:
        """Drop one entry, or move one on towards being dropped."""
        if self._probation and (
            self._probation_bytes > self._limit_bytes * _PROBATION_SHARE or not self._main
        ):
            self._leave_probation()
        else:
            self._leave_main()

    def _leave_probation(self) -> None:
        key = next(iter(self._probation))
        entry = self._probation.pop(key)
        self._probation_bytes -= entry.size_bytes
        if entry.hits_count:
            entry.hits_count = 0
            self._main[key] = entry
            self._main_bytes += entry.size_bytes
            return
        self._ghosts[key] = None
        while len(self._ghosts) > max(16, len(self)):
            del self._ghosts[next(iter(self._ghosts))]

    def _leave_main(self) -> None:
        key = next(iter(self._main))
        entry = self._main.pop(key)
        if entry.hits_count:
            entry.hits_count -= 1
            self._main[key] = entry
        else:
            self._main_bytes -= entry.size_bytes
