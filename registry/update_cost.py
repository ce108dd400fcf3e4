"""What a node that holds one release would fetch for another, by cause; from the two manifests alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.delta import new_chunks
from registry.plan import Located, plan_reads

if TYPE_CHECKING:
    from registry.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCost:
    """Bytes and requests of an update.

    Attributes:
        total_bytes: size of the new release's files.
        manifest_bytes: the new manifest as it is stored.
        same_chunks_count: chunks that the node has already.
        new_chunks_count: chunks that it has not.
        new_raw_bytes: how long these are.
        new_stored_bytes: what they take in packs.
        pack_bytes: what is read of packs, small gaps between chunks included.
        pack_requests_count: ranges of packs that hold them.
        delta_bytes: length of the delta from the one to the other; None when there is none.
        fetched_bytes: what the node fetches: the delta, or else the manifest and ranges of packs.
        requests_count: in how many requests.
    """

    total_bytes: int
    manifest_bytes: int
    same_chunks_count: int
    new_chunks_count: int
    new_raw_bytes: int
    new_stored_bytes: int
    pack_bytes: int
    pack_requests_count: int
    delta_bytes: int | None
    fetched_bytes: int
    requests_count: int


def update_cost(
    base: Manifest, new: Manifest, *, manifest_bytes: int, delta_bytes: int | None, range_bytes: int
) -> UpdateCost:
    """The cost of going from one release to another.

    Args:
        base: what the node holds.
        new: what it should hold.
        manifest_bytes: length of the new manifest as it is stored.
        delta_bytes: length of the delta between the two, if there is one.
        range_bytes: the most that one request for a part of a delta gets.
    """
    numbers = new_chunks(new, base)
    chunks = [new.chunks[number] for number in numbers]
    reads = plan_reads(
        Located(chunk.pack, chunk.offset_bytes, chunk.stored_bytes, number)
        for chunk, number in zip(chunks, numbers, strict=True)
    )
    pack_bytes = sum(read.length_bytes for read in reads)
    fetched_bytes, requests_count = manifest_bytes + pack_bytes, 1 + len(reads)
    if delta_bytes is not None:
        fetched_bytes, requests_count = delta_bytes, max(1, -(-delta_bytes // range_bytes))
    return UpdateCost(
        total_bytes=new.total_bytes,
        manifest_bytes=manifest_bytes,
        same_chunks_count=len(new.chunks) - len(chunks),
        new_chunks_count=len(chunks),
        new_raw_bytes=sum(chunk.raw_bytes for chunk in chunks),
        new_stored_bytes=sum(chunk.stored_bytes for chunk in chunks),
        pack_bytes=pack_bytes,
        pack_requests_count=len(reads),
        delta_bytes=delta_bytes,
        fetched_bytes=fetched_bytes,
        requests_count=requests_count,
    )
