"""PackWriter: new chunks gathered into packs, uploaded while the next ones fill."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from registry.layout import pack_key
from registry.manifest import Chunk, Pack
from registry.packing import PackBuilder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from registry.digest import Digest
    from registry.publish.known_chunks import Stored
    from registry.store import ObjectStore


_UPLOADS_COUNT = 2


class PackWriter:
    """Keeps the chunks of one release and writes those that are new; a context manager.

    Memory: the pack being filled and at most two being uploaded.

    Args:
        store: where packs go.
        known: chunks that are stored already.
        acknowledge: hears, one call at a time, how many more raw bytes the store has for certain.

    Attributes:
        chunks: every chunk so far, each once, in the order of first use.
        new_chunks_count: how many of them were not stored before.
        uploaded_bytes: bytes of packs that the store did not have.
    """

    def __init__(
        self, store: ObjectStore, known: dict[Digest, Stored], acknowledge: Callable[[int], None]
    ) -> None:
        self.new_chunks_count = 0
        self.uploaded_bytes = 0
        self._store = store
        self._known = known
        self._acknowledge = acknowledge
        self._guard = threading.Lock()
        self._unsure_bytes: dict[int, int] = {}  # raw, by the packs that the store has not taken yet
        self._numbers: dict[Digest, int] = {}
        self._chunks: list[Chunk] = []
        self._packs: list[Pack | None] = []  # None: the one being filled
        self._reused: dict[Pack, int] = {}
        self._builder = PackBuilder()
        self._filling: int | None = None
        self._uploads: deque[Future[int]] = deque()
        self._threads = ThreadPoolExecutor(_UPLOADS_COUNT, thread_name_prefix="pack-upload")

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the uploads that are going on; what was not finished is not uploaded."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def add(self, digest: Digest, raw_bytes: int, stored: bytes | None) -> int:
        """The number of a chunk; `stored` is None for one that was known from the start."""
        number = self._numbers.get(digest)
        if number is None:
            number = self._numbers[digest] = len(self._chunks)
            self._chunks.append(
                self._reuse(digest, raw_bytes) if stored is None else self._fill(digest, raw_bytes, stored)
            )
        pack = self._chunks[number].pack
        with self._guard:
            if pack in self._unsure_bytes:
                self._unsure_bytes[pack] += raw_bytes
            else:
                self._acknowledge(raw_bytes)
        return number

    def _reuse(self, digest: Digest, raw_bytes: int) -> Chunk:
        place = self._known[digest]
        pack = self._reused.setdefault(place.pack, len(self._packs))
        if pack == len(self._packs):
            self._packs.append(place.pack)
        return Chunk(digest, raw_bytes, pack, place.offset_bytes, place.stored_bytes)

    def _fill(self, digest: Digest, raw_bytes: int, stored: bytes) -> Chunk:
        if not self._builder.fits(stored):
            self._flush()
        if self._filling is None:
            self._filling = len(self._packs)
            self._packs.append(None)
            with self._guard:
                self._unsure_bytes[self._filling] = 0
        self.new_chunks_count += 1
        return Chunk(digest, raw_bytes, self._filling, self._builder.add(stored), len(stored))

    def finish(self) -> tuple[tuple[Chunk, ...], tuple[Pack, ...]]:
        """Write what is left and wait until all is stored; the chunks, and the packs that they name by number."""
        self._flush()
        self._wait(0)
        return tuple(self._chunks), tuple(pack for pack in self._packs if pack is not None)

    def _flush(self) -> None:
        if self._filling is None:
            return
        digest, data = self._builder.build()
        number = self._filling
        self._packs[number] = Pack(digest, len(data))
        self._builder, self._filling = PackBuilder(), None
        self._wait(_UPLOADS_COUNT - 1)
        self._uploads.append(self._threads.submit(self._write, number, pack_key(digest), data))

    def _wait(self, left_count: int) -> None:
        """Until no more uploads than so many are going on."""
        while len(self._uploads) > left_count:
            self.uploaded_bytes += self._uploads.popleft().result()

    def _write(self, pack: int, key: str, data: bytearray) -> int:
        # False: a publish that was cut off, or another publisher, has stored the very same bytes.
        uploaded_bytes = len(data) if self._store.put_if_absent(key, data) else 0
        with self._guard:
            self._acknowledge(self._unsure_bytes.pop(pack))
        return uploaded_bytes
