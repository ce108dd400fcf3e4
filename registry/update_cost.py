"""What a node that holds one release would fetch for another, by cause; from the two manifests alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.delta import decode_index, decode_manifest_patch, head_bytes, place_in_parts, start_limit_bytes
from registry.manifest import manifest_digest, unpack_manifest
from registry.plan import Located, plan_reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.manifest import Part


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
        delta_bytes: what is read of the delta from the one to the other; None when there is none.
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
    base: Part, new: Part, *, manifest_bytes: int, delta_bytes: int | None, delta_requests_count: int = 1
) -> UpdateCost:
    """The cost of going from one release to another.

    Args:
        base: what the node holds.
        new: what it should hold.
        manifest_bytes: length of the new manifest as it is stored.
        delta_bytes: what it reads of the delta between the two, if there is one.
        delta_requests_count: in how many requests.
    """
    numbers = _new_chunks(base, new)
    chunks = [new.manifest.chunks[number] for number in numbers]
    reads = plan_reads(
        Located(chunk.pack, chunk.offset_bytes, chunk.stored_bytes, number)
        for chunk, number in zip(chunks, numbers, strict=True)
    )
    pack_bytes = sum(read.length_bytes for read in reads)
    fetched_bytes, requests_count = manifest_bytes + pack_bytes, 1 + len(reads)
    if delta_bytes is not None:
        fetched_bytes, requests_count = delta_bytes, delta_requests_count
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


def delta_cost(
    base_data: bytes,
    new_data: bytes,
    base: Part,
    new: Part,
    length_bytes: int,
    read: Callable[[int, int], bytes],
) -> tuple[int, int]:
    """How many bytes of a delta the update reads, and in how many requests: for some variants not all of it.

    Args:
        base_data: the base's manifest, as it is stored.
        new_data: the new one's.
        base: what the node holds.
        new: what it should hold.
        length_bytes: of the delta's first object.
        read: gives a range of it: offset and length.

    Raises:
        ChunkMismatchError: the delta is damaged.
    """
    start_bytes = min(length_bytes, start_limit_bytes(base))
    head = head_bytes(read(0, min(64, length_bytes)))
    plain = unpack_manifest(base_data)
    _, index = decode_manifest_patch(read(0, head), plain, manifest_digest(new_data))
    wanted = set(_new_chunks(base, new))
    entries = place_in_parts(decode_index(index, new.manifest, base.manifest, head), head, length_bytes)
    here = max(start_bytes, head)
    ahead = [
        Located(entry.part, entry.offset_bytes, entry.length_bytes, entry.chunk)
        for entry in entries
        if entry.chunk in wanted and (entry.part or entry.offset_bytes + entry.length_bytes > here)
    ]
    reads = plan_reads(ahead)
    return here + sum(it.length_bytes for it in reads), 1 + (head > start_bytes) + len(reads)


def _new_chunks(base: Part, new: Part) -> list[int]:
    known = {base.manifest.chunks[number].digest for number in base.chunks}
    return [number for number in sorted(new.chunks) if new.manifest.chunks[number].digest not in known]
