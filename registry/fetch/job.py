"""FetchJob: one fetch into a locked partial release: what is here, then a delta, then peers, then the source."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog

from registry.digest import digest_of
from registry.errors import (
    ChunkMismatchError,
    EdgewardError,
    UnpackLimitError,
)
from registry.fetch.delta_intake import DeltaSource, ReceivedDelta
from registry.fetch.local_chunks import LocalChunks
from registry.fetch.swarm import Swarm
from registry.layout import delta_part, pack_key
from registry.packing import decode_chunk
from registry.plan import Located, RangeRead, plan_reads
from registry.progress import Progress, ProgressHook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from registry.delta import Entry
    from registry.digest import Digest
    from registry.fetch.neighbours import Neighbours
    from registry.fetch.partial import PartialRelease
    from registry.fetch.source import Source
    from registry.manifest import Manifest


T = TypeVar("T")
R = TypeVar("R")

_TRIES_COUNT = 3
_PEERS_WORTH_BYTES = 1024 * 1024
"""Less than this costs the origin less than it costs to ask the peers what they have."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """Where the bytes of a release came from.

    Attributes:
        total_bytes: size of the release's files.
        fetched_bytes: what the source sent, as stored: compressed, small gaps between chunks included.
        reused_bytes: raw bytes copied from other releases on this disk.
        resumed_bytes: raw bytes that were in place from before.
        requests_count: ranges asked of the source.
        peer_bytes: raw bytes that came from peers.
    """

    total_bytes: int
    fetched_bytes: int
    reused_bytes: int
    resumed_bytes: int
    requests_count: int
    peer_bytes: int = 0

    @classmethod
    def of_whole(cls, total_bytes: int) -> FetchReport:
        """The report on a release that was there before."""
        return cls(
            total_bytes=total_bytes,
            fetched_bytes=0,
            reused_bytes=0,
            resumed_bytes=total_bytes,
            requests_count=0,
        )


class FetchJob:
    """One fetch into a locked partial release. Counters are guarded by a lock: threads move them."""

    def __init__(
        self,
        manifest: Manifest,
        digest: Digest,
        partial: PartialRelease,
        source: Source,
        progress: ProgressHook,
        concurrency_count: int,
        neighbours: Neighbours | None,
    ) -> None:
        self._manifest = manifest
        self._digest = digest
        self._neighbours = neighbours
        self._partial = partial
        self._release = partial.release
        self._source = source
        self._progress = progress
        self._concurrency_count = max(1, concurrency_count)
        self._threads = ThreadPoolExecutor(self._concurrency_count, thread_name_prefix="fetch")
        self._guard = threading.Lock()
        self._part = partial.release.part
        self._done = bytearray(len(manifest.pieces))
        for number in partial.held.pieces:  # at the target, where peers get them
            self._done[number] = 1
        self._done_bytes = 0
        self._fetched_bytes = 0
        self._requests_count = 0
        self._peer_bytes = 0
        # All pieces of each chunk: a chunk that occurs twice is fetched once.
        self._pieces: list[list[int]] = [[] for _ in manifest.chunks]
        for number in sorted(self._part.pieces):
            self._pieces[manifest.pieces[number].chunk].append(number)

    def close(self) -> None:
        """Wait for the threads: none may write after the partial release is unlocked. At most one range each."""
        if self._neighbours is not None:
            self._neighbours.shelf.end(self._digest)
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def run(
        self, manifest_bytes: bytes, target: Path, local: Sequence[Path], delta: ReceivedDelta | None
    ) -> FetchReport:
        """Resume, reuse, fetch, finish."""
        if self._partial.held.variants:
            local = (target, *local)
        written = await self._in_thread(self._partial.prepare)
        self._report("")
        if self._neighbours is not None:
            places = (self._release.directory, target)
            self._neighbours.shelf.begin(self._digest, self._part | self._partial.held, places, self._done)
        await self._spread(sorted(written), lambda piece: self._in_thread(self._resume, piece))
        resumed_bytes = self._done_bytes
        await self._reuse_all(local)
        reused_bytes = self._done_bytes - resumed_bytes
        if delta is not None:
            await self._apply(delta)
        if self._neighbours is not None and self._peers_are_worth_asking(self._neighbours):
            workers_count = self._concurrency_count
            swarm = Swarm(self, self._manifest, self._digest, self._neighbours, workers_count=workers_count)
            await swarm.run(self._missing())
        await self.read_origin(self._missing())
        await self._in_thread(self._partial.finish, manifest_bytes, target)
        if self._neighbours is not None:
            self._neighbours.shelf.add_whole(self._digest, target)
        return self._told(resumed_bytes, reused_bytes)

    async def _reuse_all(self, local: Sequence[Path]) -> None:
        missing = {self._manifest.chunks[chunk].digest: chunk for chunk in self._missing()}
        if missing and local:
            chunks = await self._in_thread(LocalChunks, local, missing)
            found = [chunk for digest, chunk in missing.items() if digest in chunks]
            await self._spread(found, lambda chunk: self._in_thread(self._reuse, chunks, chunk))

    def _told(self, resumed_bytes: int, reused_bytes: int) -> FetchReport:
        """What was done, also as a log line."""
        report = FetchReport(
            total_bytes=self._part.total_bytes,
            fetched_bytes=self._fetched_bytes,
            reused_bytes=reused_bytes,
            resumed_bytes=resumed_bytes,
            requests_count=self._requests_count,
            peer_bytes=self._peer_bytes,
        )
        log.info(
            "release.fetched",
            release=f"{self._manifest.name}@{self._manifest.version}",
            source=self._source.name,
            total_bytes=report.total_bytes,
            fetched_bytes=report.fetched_bytes,
            reused_bytes=report.reused_bytes,
            resumed_bytes=report.resumed_bytes,
            requests_count=report.requests_count,
            peer_bytes=report.peer_bytes,
        )
        return report

    def lacks(self, chunk: int) -> bool:
        """Whether a chunk is not in place yet."""
        return not all(self._done[piece] for piece in self._pieces[chunk])

    async def take(self, chunk: int, raw: bytes, source: str) -> None:
        """Put the bytes of a chunk that a peer gave in place.

        Raises:
            ChunkMismatchError: they are others.
        """
        await self._in_thread(self._take, chunk, raw, source)

    async def read_origin(self, chunks: Sequence[int]) -> None:
        """Read these chunks from the source and put them in place."""
        await self._spread(plan_reads(map(self._located, chunks)), self._fetch)

    def _take(self, chunk: int, raw: bytes, source: str) -> None:
        row = self._manifest.chunks[chunk]
        if len(raw) != row.raw_bytes or digest_of(raw) != row.digest:
            raise ChunkMismatchError(f"{source} gave other bytes for chunk {row.digest[:12]}")
        placed_bytes = self._place(chunk, raw, source)
        with self._guard:
            self._peer_bytes += placed_bytes

    def _peers_are_worth_asking(self, neighbours: Neighbours) -> bool:
        stored_bytes = sum(self._manifest.chunks[chunk].stored_bytes for chunk in self._missing())
        return stored_bytes >= _PEERS_WORTH_BYTES and bool(neighbours.peers())

    async def _apply(self, delta: ReceivedDelta) -> None:
        """Place the chunks that a delta makes; those that it does not make right stay missing."""
        self._requests_count += delta.requests_count
        self._fetched_bytes += delta.fetched_bytes
        here, ahead = delta.plan(self._missing())
        start = memoryview(delta.start)

        async def place_here(entry: Entry) -> None:
            body = start[entry.offset_bytes : entry.offset_bytes + entry.length_bytes]
            await self._in_thread(self._make, delta, entry, body)

        async def place_ahead(read: RangeRead) -> None:
            assert isinstance(self._source, DeltaSource)
            try:
                data, _ = await self._source.delta(
                    delta.new, delta_part(delta.base, read.pack), read.offset_bytes, read.length_bytes
                )
            except EdgewardError as error:
                log.warning("delta.refused", manifest=delta.new, error=error.message)
                return
            self._requests_count += 1
            self._fetched_bytes += len(data)
            for place in read.chunks:
                begin = place.offset_bytes - read.offset_bytes
                body = memoryview(data)[begin : begin + place.length_bytes]
                await self._in_thread(self._make, delta, delta.entries[place.chunk], body)

        await self._spread(here, place_here)
        await self._spread(ahead, place_ahead)

    def _make(self, delta: ReceivedDelta, entry: Entry, body: memoryview) -> None:
        try:
            raw = delta.read_part(entry, body)
        except (ChunkMismatchError, UnpackLimitError) as error:
            log.warning("delta_chunk.refused", chunk=entry.chunk, error=error.message)
            return
        self._place(entry.chunk, raw, "delta")

    def _missing(self) -> list[int]:
        return [chunk for chunk in range(len(self._pieces)) if self.lacks(chunk)]

    def _located(self, chunk: int) -> Located:
        place = self._manifest.chunks[chunk]
        return Located(place.pack, place.offset_bytes, place.stored_bytes, chunk)

    def _resume(self, number: int) -> None:
        """Count a piece that the journal names, if its bytes are really there."""
        if number not in self._part.pieces:
            return
        piece = self._manifest.pieces[number]
        raw = self._release.read_piece(piece)
        if digest_of(raw) == self._manifest.chunks[piece.chunk].digest:
            self._count([number], len(raw), "partial")

    def _reuse(self, chunks: LocalChunks, chunk: int) -> None:
        raw = chunks.read(self._manifest.chunks[chunk].digest)
        if raw is not None:
            self._place(chunk, raw, "local")

    async def _fetch(self, read: RangeRead) -> None:
        """Read one range; chunks of it that are wrong are read again, each by itself."""
        refused = await self._read(read)
        tries_count = 1
        while refused:
            log.warning(
                "chunks.refused",
                source=self._source.name,
                chunks_count=len(refused),
                error=refused[0][1].message,
            )
            if tries_count == _TRIES_COUNT:
                raise ChunkMismatchError(
                    f"{self._source.name} gave wrong bytes {_TRIES_COUNT} times: {refused[0][1].message}; "
                    "fetch again, or from another source"
                ) from refused[0][1]
            again = [await self._read(_alone(chunk)) for chunk, _ in refused]
            refused = [item for items in again for item in items]
            tries_count += 1

    async def _read(self, read: RangeRead) -> list[tuple[Located, ChunkMismatchError | UnpackLimitError]]:
        key = pack_key(self._manifest.packs[read.pack].digest)
        data = await self._source.read_range(key, read.offset_bytes, read.length_bytes)
        self._requests_count += 1
        self._fetched_bytes += len(data)
        return await self._in_thread(self._unpack, read, data)

    def _unpack(
        self, read: RangeRead, data: bytes
    ) -> list[tuple[Located, ChunkMismatchError | UnpackLimitError]]:
        """Put the chunks of a range into their files; those that are wrong, with the reason."""
        refused: list[tuple[Located, ChunkMismatchError | UnpackLimitError]] = []
        view = memoryview(data)
        for place in read.chunks:
            begin = place.offset_bytes - read.offset_bytes
            chunk = self._manifest.chunks[place.chunk]
            try:
                raw = decode_chunk(view[begin : begin + place.length_bytes], chunk.digest, chunk.raw_bytes)
            except (ChunkMismatchError, UnpackLimitError) as error:
                refused.append((place, error))
                continue
            self._place(place.chunk, raw, self._source.name)
        return refused

    def _place(self, chunk: int, raw: bytes | memoryview, source: str) -> int:
        """Write a chunk wherever it belongs; how many bytes that brought."""
        numbers = [number for number in self._pieces[chunk] if not self._done[number]]
        for number in numbers:
            self._release.write_piece(self._manifest.pieces[number], raw)
        self._partial.note(numbers)
        return self._count(numbers, len(raw), source)

    def _count(self, pieces: list[int], raw_bytes: int, source: str) -> int:
        with self._guard:
            # Two sources may have brought the same chunk at once; the bytes are the same, and count once.
            fresh = [number for number in pieces if not self._done[number]]
            for number in fresh:
                self._done[number] = 1
            self._done_bytes += raw_bytes * len(fresh)
        self._report(source)
        return raw_bytes * len(fresh)

    def _report(self, source: str) -> None:
        self._progress(Progress("fetch", self._done_bytes, self._part.total_bytes, source))

    async def _in_thread(self, work: Callable[..., R], *inputs: object) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *inputs)

    async def _spread(self, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Work on all items, a few at once; the first error stops the others."""
        rest = iter(items)

        async def worker() -> None:
            for item in rest:
                await work(item)

        tasks = [asyncio.create_task(worker()) for _ in range(self._concurrency_count)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _alone(place: Located) -> RangeRead:
    return RangeRead(place.pack, place.offset_bytes, place.length_bytes, (place,))
