"""Board: which chunks of a fetch are missing, who has them, who is bringing them, and so what to read next.

Sets of chunks are integers, bit n for chunk n: a release of 180 GB has some 46,000 chunks, and the board is looked at
before every read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from registry.fetch.turns import may_take_others, own_order, rank, weight

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.fetch.chunk_peer import ChunkPeer
    from registry.fetch.turns import Share

Read = TypeVar("Read")
"""Whatever stands for a read that is going on."""

ORIGIN = "origin"
_SOURCES_LIMIT_COUNT = 3
"""So many are asked for one chunk at a time; the origin may come on top of them."""
_BAD_ANSWERS_COUNT = 2
_FAILURES_COUNT = 8
_LATE_COUNT = 8


@dataclass(slots=True)
class KnownPeer:
    """What is known of one peer; `alive` is False after it did not answer.

    Attributes:
        held: its chunks.
        meant: the chunks that it has or will have, all of them until it has said otherwise.
        late_count: reads in a row in which another source overtook it although asked much later.
    """

    peer: ChunkPeer
    held: int = 0
    meant: int = -1
    alive: bool = True
    bad_answers_count: int = 0
    failures_count: int = 0
    late_count: int = 0
    busy_count: int = 0

    @property
    def trusted(self) -> bool:
        """Whether it has not given wrong answers, nor failed or been far too slow all the time."""
        return (
            self.bad_answers_count < _BAD_ANSWERS_COUNT
            and self.failures_count < _FAILURES_COUNT
            and self.late_count < _LATE_COUNT
        )

    @property
    def useful(self) -> bool:
        """Whether it makes sense to ask it."""
        return self.alive and self.trusted


class Step(NamedTuple):
    """One read; from the origin when `known` is None, and then `own` says whether it is this node's turn."""

    chunks: tuple[int, ...]
    known: KnownPeer | None
    own: bool = False

    @property
    def source(self) -> str:
        """Whom it asks."""
        return ORIGIN if self.known is None else self.known.peer.name


@dataclass(slots=True)
class _Claim(Generic[Read]):
    """Reads that are to bring a chunk, by source, which of them are slow, and whether the origin may be asked too."""

    reads: dict[str, Read] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    for_origin: bool = False

    @property
    def for_peers(self) -> bool:
        """Whether one more peer may be asked: all that were asked are slow."""
        return len(self.reads) < _SOURCES_LIMIT_COUNT and self.slow.issuperset(self.reads)


class Board(Generic[Read]):
    """The state of one fetch among peers; only its event loop touches it.

    Args:
        node_id: this node.
        shares: the missing chunks.
        patience_s: how long to wait for peers that give nothing new.
        now_s: the time at the beginning.
    """

    def __init__(self, node_id: str, shares: Iterable[Share], *, patience_s: float, now_s: float) -> None:
        self.known: dict[str, KnownPeer] = {}
        self.origin_failed = 0
        self.gained_s = now_s
        self._node_id = node_id
        self._patience_s = patience_s
        self._began_s = now_s
        self._turn_ended_s: float | None = None
        order = own_order(node_id, shares)
        self._shares = [(share, sum(1 << chunk for chunk in share.chunks)) for share in order]
        self.lacking = sum(mask for _, mask in self._shares)
        self._claims: dict[int, _Claim[Read]] = {}
        self._claimed = 0
        self._own_reads_count = 0
        self._ranked: dict[str, int] = {}
        self._ranked_among: frozenset[tuple[str, int]] | None = None

    def next(self, *, origin_first: bool, now_s: float) -> Step | None:
        """What to read next; None when there is nothing to do but wait."""
        if origin_first:
            return self._next_of_origin(now_s) or self._next_of_peers()
        return self._next_of_peers() or self._next_of_origin(now_s)

    def next_instead(self, *, of_origin_only: bool) -> Step | None:
        """What to read of somebody else, since a read of it is slow; nothing that nobody was asked for yet."""
        return self._of_origin_instead() or (None if of_origin_only else self._of_peer_instead())

    def claim(self, step: Step, read: Read) -> None:
        """Note that a read of these chunks has begun."""
        for chunk in step.chunks:
            claim = self._claims.setdefault(chunk, _Claim())
            claim.reads[step.source] = read
            claim.for_origin = claim.for_origin and step.known is not None
            self._claimed |= 1 << chunk
        self._own_reads_count += step.own

    def open(self, step: Step, read: Read, *, to_origin: bool) -> None:
        """Note that a read is slow: another peer may be asked for the same, and in the end the origin."""
        for chunk in step.chunks:
            claim = self._claims.get(chunk)
            if claim is not None and claim.reads.get(step.source) is read:
                claim.slow.add(step.source)
                claim.for_origin = claim.for_origin or to_origin

    def release(self, step: Step, read: Read, arrived: Iterable[int]) -> set[Read]:
        """Note that a read has ended; gives back the other reads that nothing is expected of any more."""
        for chunk in arrived:
            self.lacking &= ~(1 << chunk)
        others: set[Read] = set()
        for chunk in step.chunks:
            claim = self._claims.get(chunk)
            if claim is None or claim.reads.get(step.source) is not read:
                continue
            del claim.reads[step.source]
            claim.slow.discard(step.source)
            others.update(claim.reads.values())
            if not claim.reads:
                del self._claims[chunk]
                self._claimed &= ~(1 << chunk)
        self._own_reads_count -= step.own
        if others:
            for chunk, claim in self._claims.items():
                if self.lacking >> chunk & 1:
                    others.difference_update(claim.reads.values())
        return others

    def reads(self) -> list[Read]:
        """Every read that is going on."""
        return [read for claim in self._claims.values() for read in claim.reads.values()]

    def is_hopeless(self, now_s: float) -> bool:
        """Whether what the origin did not give can be expected of nobody else."""
        if not self.origin_failed & self.lacking or self._claims:
            return False
        silent_s = now_s - max(self.gained_s, self._turn_ended_s or self._began_s)
        return silent_s >= self._patience_s or not any(known.useful for known in self.known.values())

    def _of_origin_instead(self) -> Step | None:
        """A chunk that a peer is much too slow to give."""
        wanted = self.lacking & ~self.origin_failed
        for chunk, claim in self._claims.items():
            if claim.for_origin and ORIGIN not in claim.reads and wanted >> chunk & 1:
                return Step((chunk,), None)
        return None

    def _of_peer_instead(self) -> Step | None:
        """A chunk that all who were asked are slow to give."""
        for chunk, claim in self._claims.items():
            holder = self._holder(chunk) if claim.for_peers and self.lacking >> chunk & 1 else None
            if holder is not None:
                return Step((chunk,), holder)
        return None

    def _next_of_peers(self) -> Step | None:
        instead = self._of_peer_instead()
        if instead is not None:
            return instead
        free = self.lacking & ~self._claimed & self._held()
        if not free:
            return None
        share = next(mask & free for _, mask in self._shares if mask & free)
        chunk = (share & -share).bit_length() - 1
        return Step((chunk,), self._holder(chunk))

    def _holder(self, chunk: int) -> KnownPeer | None:
        """The peer to ask for a chunk: the least busy one that has it; equals are spread by rendezvous."""
        tried = self._claims[chunk].reads if chunk in self._claims else {}
        holders = [
            known
            for name, known in self.known.items()
            if known.held >> chunk & 1 and known.useful and name not in tried
        ]
        key = f"{self._node_id}:{chunk}"
        return min(holders, key=lambda it: (it.busy_count, -weight(it.peer.name, key)), default=None)

    def _held(self) -> int:
        """The chunks that some peer has."""
        held = 0
        for known in self.known.values():
            held |= known.held if known.useful else 0
        return held

    def _next_of_origin(self, now_s: float) -> Step | None:
        """What a peer is much too slow to give; a share of this node's own; or, in time, one of the others'."""
        instead = self._of_origin_instead()
        if instead is not None:
            return instead
        free = self.lacking & ~self._claimed & ~self._held() & ~self.origin_failed
        ranks = self._ranks()
        open_shares = [(ranks[share.key], share, mask) for share, mask in self._shares if mask & free]
        for place, share, mask in open_shares:
            if place == 0:
                return Step(_numbers(mask & free, share.chunks), None, own=True)
        if self._own_reads_count:
            return None
        if self._turn_ended_s is None:
            self._turn_ended_s = now_s
        may_steal = may_take_others(
            now_s=now_s,
            gained_s=self.gained_s,
            turn_ended_s=self._turn_ended_s,
            turn_took_s=self._turn_ended_s - self._began_s,
            patience_s=self._patience_s,
        )
        if not open_shares or not may_steal:
            return None
        _, share, mask = min(open_shares, key=lambda it: it[0])
        return Step(_numbers(mask & free, share.chunks), None)

    def _ranks(self) -> dict[str, int]:
        """This node's rank at every share, among those that are there now."""
        others = frozenset((name, known.meant) for name, known in self.known.items() if known.useful)
        if others != self._ranked_among:
            self._ranked_among = others
            self._ranked = {
                # Whoever fetches another variant will never have its turn at this share.
                share.key: rank(self._node_id, [name for name, meant in others if meant & mask], share.key)
                for share, mask in self._shares
            }
        return self._ranked


def _numbers(mask: int, among: Iterable[int]) -> tuple[int, ...]:
    return tuple(number for number in among if mask >> number & 1)
