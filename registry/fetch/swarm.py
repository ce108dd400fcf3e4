"""Swarm: the missing chunks of one fetch, brought from peers and from the origin at the same time.

Every node reads its own shares (`turns`) from the origin and asks its peers for what they have already, so that
nodes that begin together cost the origin about one copy. When a read is slower than 95 % of the others, another
source is asked for the same, and whichever comes first counts.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from registry.errors import ChunkMismatchError, DiskFullError, EdgewardError
from registry.fetch.board import Board, KnownPeer, Step
from registry.fetch.turns import Pace, shares_of
from registry.manifest import part_of
from registry.works import Works

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from registry.digest import Digest
    from registry.fetch.chunk_peer import ChunkPeer
    from registry.fetch.neighbours import Neighbours
    from registry.manifest import Manifest

log = structlog.get_logger()

_POLL_S = (0.1, 1.0)
"""The pause before a peer is asked again what it has, doubled while nothing is new up to the second figure."""
_SILENT_COUNT = 2
_LOOK_AGAIN_S = 0.05
_ORIGIN_PATIENCE = 4
"""So many times longer than a slow read may take a peer before the origin is asked for the same."""


class Intake(Protocol):
    """Where the swarm's chunks go, and how it reads the origin."""

    def lacks(self, chunk: int) -> bool:
        """Whether a chunk is not in place yet."""

    async def take(self, chunk: int, raw: bytes, source: str) -> None:
        """Check the bytes of a chunk and put them in place. Raises ChunkMismatchError."""

    async def read_origin(self, chunks: Sequence[int]) -> None:
        """Read these chunks from the origin and put them in place. Raises EdgewardError."""


class Swarm:
    """Brings chunks; use once, in one event loop.

    Args:
        intake: where they go.
        manifest: of the release.
        digest: of the manifest.
        neighbours: who else is there.
        workers_count: reads at once from the origin, and as many from peers; as many again may be slow.
        now_s: a clock that does not go back.
    """

    def __init__(
        self,
        intake: Intake,
        manifest: Manifest,
        digest: Digest,
        neighbours: Neighbours,
        *,
        workers_count: int,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._intake = intake
        self._manifest = manifest
        self._digest = digest
        self._neighbours = neighbours
        self._workers_count = workers_count
        self._now_s = now_s
        self._pace = Pace()
        self._changed = asyncio.Event()
        self._watches: set[asyncio.Task[None]] = set()
        self._followers = Works()
        self._origin_error: EdgewardError | None = None
        self._fatal: DiskFullError | None = None
        self._meant_by_variants: dict[frozenset[str], int] = {}

    async def run(self, chunks: Iterable[int]) -> None:
        """Bring these chunks.

        Raises:
            DiskFullError: there is no room.
            EdgewardError: why the origin did not give what no peer has either.
        """
        rows = [(chunk, self._manifest.chunks[chunk]) for chunk in chunks]
        shares = shares_of(
            (chunk, self._manifest.packs[row.pack].digest, row.offset_bytes) for chunk, row in rows
        )
        board: Board[asyncio.Task[None]] = Board(
            self._neighbours.node_id, shares, patience_s=self._neighbours.patience_s, now_s=self._now_s()
        )
        self._followers.begin("swarm peers", partial(self._follow_peers, board))
        workers = [
            asyncio.create_task(self._work(board, origin_first=origin_first), name="swarm worker")
            for origin_first in (True, False)
            for _ in range(self._workers_count)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            ending = (*workers, *self._watches, *board.reads())
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, self._followers.end(), return_exceptions=True)

    async def _work(self, board: Board[asyncio.Task[None]], *, origin_first: bool) -> None:
        while board.lacking:
            if self._fatal is not None:
                raise self._fatal
            step = self._next(board, origin_first=origin_first)
            if step is not None:
                await self._carry_out(board, step)
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self._changed.wait()
            except TimeoutError:
                if self._origin_error is not None and board.is_hopeless(self._now_s()):
                    raise self._origin_error from None

    def _next(self, board: Board[asyncio.Task[None]], *, origin_first: bool) -> Step | None:
        """What a worker does next; while many reads are slow only what they hold up, so that memory is bounded."""
        slow_limit_count = 3 * self._workers_count
        if len(self._watches) < slow_limit_count:
            return board.next(origin_first=origin_first, now_s=self._now_s())
        return board.next_instead(of_origin_only=len(self._watches) >= 2 * slow_limit_count)

    async def _carry_out(self, board: Board[asyncio.Task[None]], step: Step) -> None:
        """Start a read and stay with it; one that turns out to be slow is left to itself."""
        read = asyncio.create_task(self._read(board, step))
        board.claim(step, read)
        slow = asyncio.Event()
        watch = asyncio.create_task(
            self._watch(board, step, read, slow), name=f"swarm read from {step.source}"
        )
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        noticed = asyncio.create_task(slow.wait())
        try:
            await asyncio.wait({watch, noticed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            noticed.cancel()
        if watch.done():
            watch.result()

    async def _watch(
        self, board: Board[asyncio.Task[None]], step: Step, read: asyncio.Task[None], slow: asyncio.Event
    ) -> None:
        """Follow a read to its end; `slow` is set when others may be asked for the same."""
        began_s, length_bytes = self._now_s(), self._length_bytes(step)
        opened_count, done = 0, False
        try:
            while not done:
                slow_s = self._pace.slow_after_s(length_bytes) or self._neighbours.patience_s
                limits_s = (slow_s, max(self._neighbours.patience_s, _ORIGIN_PATIENCE * slow_s))
                left_s = (
                    limits_s[opened_count] - (self._now_s() - began_s)
                    if opened_count < len(limits_s)
                    else None
                )
                if left_s is not None and left_s <= 0:
                    opened_count += 1
                    to_origin = opened_count == len(limits_s)
                    board.open(step, read, to_origin=to_origin)
                    log.info(
                        "read.hedged", source=step.source, chunks_count=len(step.chunks), to_origin=to_origin
                    )
                    slow.set()
                    self._changed.set()
                    continue
                done = bool((await asyncio.wait({read}, timeout=left_s))[0])
            if not read.cancelled():
                read.result()
                self._pace.note(length_bytes, self._now_s() - began_s)
            elif step.known is not None and opened_count == len(limits_s):
                step.known.late_count += 1
        except DiskFullError as error:
            self._fatal = error
        except EdgewardError as error:
            self._note_failure(board, step, error)
        finally:
            read.cancel()
            arrived = [chunk for chunk in step.chunks if not self._intake.lacks(chunk)]
            for overtaken in board.release(step, read, arrived):
                overtaken.cancel()
            self._changed.set()

    async def _read(self, board: Board[asyncio.Task[None]], step: Step) -> None:
        if step.known is None:
            await self._intake.read_origin(step.chunks)
            return
        (chunk,) = step.chunks
        row = self._manifest.chunks[chunk]
        step.known.busy_count += 1
        try:
            raw = await step.known.peer.chunk(row.digest, row.raw_bytes)
            await self._intake.take(chunk, raw, step.source)
            step.known.late_count = 0
        finally:
            step.known.busy_count -= 1
        board.gained_s = self._now_s()

    def _note_failure(self, board: Board[asyncio.Task[None]], step: Step, error: EdgewardError) -> None:
        if step.known is None:
            log.warning("origin_read.failed", chunks_count=len(step.chunks), error=error.message)
            self._origin_error = error
            for chunk in step.chunks:
                board.origin_failed |= 1 << chunk
            return
        if isinstance(error, ChunkMismatchError):
            step.known.bad_answers_count += 1
        elif step.known.alive:  # it is asked for nothing more until it says anew what it has
            # What fails beside this one fails for the same reason: a moment of too much work is not eight.
            step.known.failures_count += 1
            step.known.alive = False
        log.warning("peer_chunk.refused", peer=step.source, code=error.code, error=error.message)

    def _length_bytes(self, step: Step) -> int:
        return sum(self._manifest.chunks[chunk].raw_bytes for chunk in step.chunks)

    async def _follow_peers(self, board: Board[asyncio.Task[None]]) -> None:
        """Keep asking every peer what it has, and look for new peers, until cancelled."""
        while True:
            for peer in self._neighbours.peers():
                if peer.name == self._neighbours.node_id:
                    continue
                known = board.known.get(peer.name)
                if known is not None:
                    known.peer = peer  # it may have moved to another URL
                else:
                    board.known[peer.name] = known = KnownPeer(peer)
                    self._followers.once(f"swarm follow {peer.name}", partial(self._follow, known))
            await asyncio.sleep(_POLL_S[1] / 2)

    async def _follow(self, known: KnownPeer) -> None:
        pause_s, silent_count = _POLL_S[0], 0
        while known.trusted:
            try:
                bitmap = await known.peer.have(self._digest)
                held, alive, silent_count = int.from_bytes(bitmap or b"", "little"), True, 0
            except EdgewardError as error:
                # Once may be our own fault: when we stand still, all peers seem to.
                silent_count += 1
                held, alive = known.held, known.alive and silent_count < _SILENT_COUNT
                if silent_count == _SILENT_COUNT:
                    log.info("peer.fell_silent", peer=known.peer.name, error=error.message)
            meant = self._meant(known.peer)
            if (held, meant, alive) != (known.held, known.meant, known.alive):
                known.held, known.meant, known.alive = held, meant, alive
                pause_s = max(_POLL_S[0], pause_s / 2)
                self._changed.set()
            else:
                pause_s = min(_POLL_S[1], pause_s * 2)
            await asyncio.sleep(pause_s)

    def _meant(self, peer: ChunkPeer) -> int:
        """The chunks of the variants that a peer speaks of, as a set."""
        variants = peer.variants
        if variants is None:
            return -1
        if variants not in self._meant_by_variants:
            known = [variant.name for variant in self._manifest.variants if variant.name in variants]
            chunks = part_of(self._manifest, known).chunks
            self._meant_by_variants[variants] = sum(1 << chunk for chunk in chunks)
        return self._meant_by_variants[variants]
