"""From chunks that are missing to the ranges to read: few requests, few bytes that nobody wants.

Chunks that lie near each other in a pack are read in one range: across gaps of at most 64 KiB, as what lies in a gap
is read for nothing, and at most 16 MiB a range, which bounds memory. Who reads much reads 8 MiB at a time: what has
arrived is unpacked sooner beside what still comes, and less of it is in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

GAP_LIMIT_BYTES = 64 * 1024
RANGE_LIMIT_BYTES = 16 * 1024 * 1024
MUCH_BYTES, RANGE_OF_MUCH_BYTES = 128 * 1024 * 1024, 8 * 1024 * 1024


class Located(NamedTuple):
    """Where a chunk lies; `chunk` is whatever number the caller knows it by."""

    pack: int
    offset_bytes: int
    length_bytes: int
    chunk: int


class RangeRead(NamedTuple):
    """One range of one pack, and the chunks in it."""

    pack: int
    offset_bytes: int
    length_bytes: int
    chunks: tuple[Located, ...]


def plan_reads(
    wanted: Iterable[Located],
    *,
    gap_limit_bytes: int = GAP_LIMIT_BYTES,
    range_limit_bytes: int = RANGE_LIMIT_BYTES,
) -> list[RangeRead]:
    """The ranges that hold every wanted chunk, each chunk in exactly one, by pack and offset.

    A chunk longer than `range_limit_bytes` gets a range of its own.
    """
    chunks = sorted(wanted)
    if sum(chunk.length_bytes for chunk in chunks) >= MUCH_BYTES:
        range_limit_bytes = min(range_limit_bytes, RANGE_OF_MUCH_BYTES)
    reads: list[RangeRead] = []
    group: list[Located] = []
    start = end = 0
    for chunk in chunks:
        chunk_end = chunk.offset_bytes + chunk.length_bytes
        near = (
            group
            and chunk.pack == group[0].pack
            and chunk.offset_bytes - end <= gap_limit_bytes
            and max(end, chunk_end) - start <= range_limit_bytes
        )
        if group and not near:
            reads.append(RangeRead(group[0].pack, start, end - start, tuple(group)))
            group = []
        if not group:
            start = end = chunk.offset_bytes
        group.append(chunk)
        end = max(end, chunk_end)
    if group:
        reads.append(RangeRead(group[0].pack, start, end - start, tuple(group)))
    return reads
