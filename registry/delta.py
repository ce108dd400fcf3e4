"""A delta: what a holder of one release needs to make another: its manifest as a patch, its new chunks as differences.

It is never trusted: the manifest that it makes is checked by its digest, and every chunk as well. It is never
needed: every chunk is also in a pack. README.md has the layout.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import zstandard

from registry.digest import digest_of
from registry.errors import ChunkMismatchError
from registry.frames import unpack_frame
from registry.manifest import UNPACKED_LIMIT_BYTES
from registry.packing import CHUNK_LIMIT_BYTES, decode_chunk, load_plane_module
from registry.plan import RANGE_LIMIT_BYTES
from registry.varint import VarintReader, put_varint, unzigzag, zigzag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registry.digest import Digest
    from registry.manifest import Chunk, Manifest, Part

MAGIC = b"EAD1"
HEAD_LIMIT_BYTES = 16 * 1024 * 1024
"""Manifest patch and index; a delta with more is not written."""
PART_LIMIT_BYTES = 64 * 1024 * 1024
"""A delta with more bodies than this has them in objects of their own, each of so many bytes at most."""

_PART_START_BYTES = 256 * 1024
_LEVEL = 19
_LENGTH_BYTES = 4
_WINDOW_LIMIT_LOG = 27


class Mode(IntEnum):
    """How a chunk is written. Numbers are for ever."""

    STORED = 0
    PATCH = 1
    DIFFERENCE = 2


class Coded(NamedTuple):
    """One new chunk: how it is written, against which chunk of the base (by number; any for STORED), its bytes."""

    mode: Mode
    against: int
    body: bytes


class Entry(NamedTuple):
    """Where one new chunk lies in a delta; `chunk` and `against` are numbers in the new manifest and in the base's.

    `part` is 0 for the object that begins with the head.
    """

    chunk: int
    mode: Mode
    against: int
    offset_bytes: int
    length_bytes: int
    part: int = 0


def start_limit_bytes(held: Part) -> int:
    """How much of a delta to ask for at first: a holder of some variants alone has no use for most of it."""
    return RANGE_LIMIT_BYTES if held.is_whole else _PART_START_BYTES


def new_chunks(manifest: Manifest, base: Manifest) -> list[int]:
    """The chunks that the base has not, by number: what a delta holds, in this order."""
    known = {chunk.digest for chunk in base.chunks}
    return [number for number, chunk in enumerate(manifest.chunks) if chunk.digest not in known]


def encode_delta(new_plain: bytes, base_plain: bytes, coded: Iterable[Coded]) -> bytes | None:
    """A delta from two unpacked manifests and the new chunks in order; None when its head would be too long."""
    chunks = list(coded)
    head = encode_head(new_plain, base_plain, ((it.mode, it.against, len(it.body)) for it in chunks))
    return None if head is None else b"".join((head, *(it.body for it in chunks)))


def encode_head(
    new_plain: bytes, base_plain: bytes, entries: Iterable[tuple[Mode, int, int]]
) -> bytes | None:
    """What a delta begins with; of each new chunk, in order: mode, chunk of the base, length. None: it is too long."""
    index, expected = bytearray(), 0
    for mode, against, length_bytes in entries:
        index.append(mode)
        put_varint(index, zigzag(against - expected))
        put_varint(index, length_bytes)
        expected = against + 1
    patch = encode_patch(new_plain, base_plain)
    head = bytearray()
    for part, length in (
        (patch, len(new_plain)),
        (zstandard.ZstdCompressor(_LEVEL).compress(index), len(index)),
    ):
        put_varint(head, length)
        put_varint(head, len(part))
        head += part
    if len(head) > HEAD_LIMIT_BYTES:
        return None
    return b"".join((MAGIC, len(head).to_bytes(_LENGTH_BYTES, "little"), head))


def place_in_parts(entries: Sequence[Entry], head: int, first_bytes: int) -> list[Entry]:
    """The entries where they lie, which the length of the object with the head tells: in it, or in parts.

    Args:
        entries: as `decode_index` gives them.
        head: how long the head is.
        first_bytes: the length of the object that begins with it.

    Raises:
        ChunkMismatchError: it has another length than either would give.
    """
    if first_bytes == head + sum(entry.length_bytes for entry in entries):
        return list(entries)
    if first_bytes != head:
        raise ChunkMismatchError("the delta is not as long as its chunks")
    placed, part, end = [], 1, 0
    for entry in entries:
        if starts_part(end, entry.length_bytes):
            part, end = part + 1, 0
        placed.append(entry._replace(part=part, offset_bytes=end))
        end += entry.length_bytes
    return placed


def starts_part(filled_bytes: int, length_bytes: int) -> bool:
    """Whether the next body begins a new part, after so many bytes in this one."""
    return filled_bytes > 0 and filled_bytes + length_bytes > PART_LIMIT_BYTES


def head_bytes(start: bytes) -> int:
    """How many of a delta's first bytes `decode_head` needs.

    Raises:
        ChunkMismatchError: this is no delta.
    """
    fixed = len(MAGIC) + _LENGTH_BYTES
    length = int.from_bytes(start[len(MAGIC) : fixed], "little")
    if start[: len(MAGIC)] != MAGIC or len(start) < fixed or length > HEAD_LIMIT_BYTES:
        raise ChunkMismatchError("not a delta, or a damaged one")
    return fixed + length


def decode_manifest_patch(head: bytes, base_plain: bytes, digest: Digest) -> tuple[bytes, bytes]:
    """The unpacked manifest with this digest, and the index that `decode_index` reads.

    Raises:
        ChunkMismatchError: it is damaged, or of something else.
    """
    reader = VarintReader(memoryview(head)[len(MAGIC) + _LENGTH_BYTES :], "the delta")
    length = reader.varint()
    if length > UNPACKED_LIMIT_BYTES:
        raise ChunkMismatchError("the delta is damaged: its manifest is over the limit")
    plain = decode_patch(reader.take(reader.varint()), base_plain, length, "the delta")
    if digest_of(plain) != digest:
        raise ChunkMismatchError("the delta makes another manifest than the one that is wanted")
    index_bytes = reader.varint()
    packed = reader.take(reader.varint())
    reader.finish()
    if index_bytes > HEAD_LIMIT_BYTES:
        raise ChunkMismatchError("the delta is damaged: its index is over the limit")
    return plain, unpack_frame(packed, index_bytes, "the delta")


def decode_index(index: bytes, manifest: Manifest, base: Manifest, offset_bytes: int) -> list[Entry]:
    """Where each new chunk lies; `offset_bytes` is where the first one starts.

    Raises:
        ChunkMismatchError: it is damaged.
    """
    reader = VarintReader(memoryview(index), "the delta's index")
    entries, expected = [], 0
    for chunk in new_chunks(manifest, base):
        mode = reader.byte()
        against = expected + unzigzag(reader.varint())
        length = reader.varint()
        if mode not in set(Mode) or length > CHUNK_LIMIT_BYTES + 1 or not 0 <= against <= len(base.chunks):
            raise ChunkMismatchError("the delta's index is damaged")
        if mode != Mode.STORED and against == len(base.chunks):
            raise ChunkMismatchError("the delta's index names a chunk that the base has not")
        entries.append(Entry(chunk, Mode(mode), against, offset_bytes, length))
        offset_bytes += length
        expected = against + 1
    reader.finish()
    return entries


def decode_entry(entry: Entry, body: memoryview, chunk: Chunk, before: bytes) -> bytes | memoryview:
    """The raw bytes of a new chunk, checked against its name.

    Args:
        entry: how it is written.
        body: its bytes in the delta.
        chunk: what it must be.
        before: the raw bytes of the chunk that it is written against; empty for STORED.

    Raises:
        ChunkMismatchError: they are damaged.
        UnpackLimitError: they would unpack to more than declared.
    """
    what = f"chunk {chunk.digest[:12]}"
    if entry.mode == Mode.STORED:
        return decode_chunk(body, chunk.digest, chunk.raw_bytes)
    if entry.mode == Mode.PATCH:
        raw = decode_patch(body, before, chunk.raw_bytes, what)
    else:
        raw = load_plane_module("plane_differences").decode_difference(body, before, what)
    if digest_of(raw) != chunk.digest:
        raise ChunkMismatchError(f"{what} does not come out of the delta as its name says")
    return raw


def encode_patch(new: bytes, base: bytes, level: int = _LEVEL) -> bytes:
    """A zstd frame of some bytes that copies from others."""
    window = min(_WINDOW_LIMIT_LOG, max(10, (len(new) + len(base)).bit_length()))
    options = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=window, write_content_size=False
    )
    return zstandard.ZstdCompressor(dict_data=_dictionary(base), compression_params=options).compress(new)


def decode_patch(patch: memoryview, base: bytes, length_bytes: int, what: str) -> bytes:
    """The inverse of `encode_patch`.

    Raises:
        ChunkMismatchError: it is damaged, or has another length.
    """
    return unpack_frame(patch, length_bytes, what, dictionary=base)


def best_of(candidates: Sequence[Coded]) -> Coded:
    """The shortest; the first among equals."""
    return min(candidates, key=lambda coded: len(coded.body))


def _dictionary(base: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
