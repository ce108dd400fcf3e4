"""Planes to bytes and back: the stored form of a chunk whose blocks are known. README.md has the layout.

Every length is derived from the declared forms; a frame that would unpack to more is stopped.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from registry.chunking import Segment
from registry.element_forms import BLOCK_BYTES, Form
from registry.errors import ChunkMismatchError, UnpackLimitError
from registry.frames import unpack_frame
from registry.plane_frames import FramePacker
from registry.planes import Layout, Plane, by_rank, from_columns, from_rank, layout_of, to_columns
from registry.varint import VarintReader, put_varint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    Bytes = NDArray[Any]

_WORTH_KEEPING = 0.97
_SURELY_BEST = 0.95  # columns that save so much save more than the plane as it is
_RAW, _ZSTD, _COLUMNS = 0, 1, 2
_SEGMENT_LIMIT_COUNT = 1 << 16
# zstd makes one table of codes for 128 KiB; the rows of a short ranked plane deserve several.
_RANKED_PART_BYTES = 48 * 1024
_PARTS_LIMIT_COUNT = 8


def encode_planes(raw: bytes, segments: Sequence[Segment]) -> bytes:
    """The planes of a chunk that has these segments, one after another."""
    return b"".join(plane_parts(raw, segments))


def plane_parts(raw: bytes, segments: Sequence[Segment]) -> list[bytes | memoryview]:
    """What `encode_planes` makes, in parts, so that who puts something before it need not copy it once more."""
    out = bytearray()
    put_varint(out, len(segments))
    if len(segments) == 1:
        out.append(segments[0].form)
        put_varint(out, segments[0].row_blocks_count)
    else:
        for segment in segments:
            out.append(segment.form)
            put_varint(out, segment.length_bytes)
    parts: list[bytes | memoryview] = [bytes(out)]
    packer = FramePacker()
    whole = np.frombuffer(raw, np.uint8)
    for form, row_blocks, places in _by_form(segments):
        stretches = [whole[start:end] for start, end in places]
        data = stretches[0] if len(stretches) == 1 else np.concatenate(stretches)
        layout, blocks = layout_of(form), len(data) // BLOCK_BYTES[form]
        end = blocks * BLOCK_BYTES[form]
        done: list[Bytes] = []
        for plane, content in zip(
            layout.planes, layout.split(data[:end].reshape(blocks, BLOCK_BYTES[form])), strict=True
        ):
            parts += _encode(packer, plane, content, done, row_blocks)
            done.append(content)
        parts.append(data[end:].data)
    return parts


def decode_planes(payload: memoryview, raw_bytes: int, what: str) -> memoryview:
    """The inverse of `encode_planes`.

    Raises:
        UnpackLimitError: the segments are not as long as the chunk, or a frame unpacks to more than its plane.
        ChunkMismatchError: the planes are damaged.
    """
    reader = VarintReader(payload, what)
    segments = _read_segments(reader, raw_bytes, what)
    raw = np.empty(raw_bytes if len(segments) > 1 else 0, np.uint8)
    for form, row_blocks, parts in _by_form(segments):
        length = sum(end - start for start, end in parts)
        data = _decode_form(reader, layout_of(form), BLOCK_BYTES[form], length, row_blocks)
        if len(segments) == 1:
            raw = data
            break
        for start, end in parts:
            raw[start:end] = data[: end - start]
            data = data[end - start :]
    reader.finish()
    return raw.data


def _by_form(segments: Sequence[Segment]) -> list[tuple[Form, int, list[tuple[int, int]]]]:
    """For each form, in the order of their numbers: blocks in a row (0: not known) and where its bytes lie."""
    places = []
    start = 0
    for segment in segments:
        places.append((segment.form, start, start + segment.length_bytes))
        start += segment.length_bytes
    row_blocks = segments[0].row_blocks_count if len(segments) == 1 else 0
    return [
        (form, row_blocks, [(start, end) for _, start, end in group])
        for form, group in groupby(sorted(places), key=lambda place: place[0])
    ]


def _read_segments(reader: VarintReader, raw_bytes: int, what: str) -> list[Segment]:
    count = reader.varint()
    if not 0 < count <= _SEGMENT_LIMIT_COUNT:
        raise ChunkMismatchError(f"{what} is damaged: it claims {count} segments")
    try:
        if count == 1:
            return [Segment(Form(reader.byte()), raw_bytes, reader.varint())]
        segments = [Segment(Form(reader.byte()), reader.varint()) for _ in range(count)]
    except ValueError as error:
        raise ChunkMismatchError(f"{what} has a form that is unknown here; update Edgeward") from error
    total_bytes = sum(segment.length_bytes for segment in segments)
    if total_bytes != raw_bytes:
        raise UnpackLimitError(f"{what} would unpack to {total_bytes} bytes; {raw_bytes} were declared")
    return segments


def _decode_form(
    reader: VarintReader, layout: Layout, block_bytes: int, length_bytes: int, row_blocks: int
) -> Bytes:
    blocks = length_bytes // block_bytes
    planes: list[Bytes] = []
    for plane in layout.planes:
        planes.append(_decode(reader, plane, blocks * plane.width_bytes, planes, row_blocks))
    whole = layout.join(planes).reshape(-1)
    tail = np.frombuffer(reader.take(length_bytes - len(whole)), np.uint8)
    return np.concatenate([whole, tail]) if len(tail) else whole


def _encode(
    packer: FramePacker, plane: Plane, content: Bytes, before: Sequence[Bytes], row_blocks: int
) -> list[bytes | memoryview]:
    """A mode, and the best stored form of a plane that was found."""
    width = row_blocks * plane.width_bytes
    best, best_bytes = None, 0
    if plane.by_column and 0 < width <= len(content):
        classes, turned = to_columns(content, width)
        best = _pack(packer, plane, _COLUMNS, turned, classes)
        best_bytes = sum(map(len, best))
    if best is None or best_bytes > _SURELY_BEST * len(content):
        ordered = by_rank(content, plane.rank(before), plane.row_bytes) if plane.rank else content
        plain = _pack(packer, plane, _ZSTD, ordered)
        plain_bytes = sum(map(len, plain))
        if best is None or plain_bytes < best_bytes:
            best, best_bytes = plain, plain_bytes
    if best_bytes < _WORTH_KEEPING * len(content):
        return best
    return [bytes((_RAW,)), content.data]


def _pack(
    packer: FramePacker, plane: Plane, mode: int, content: Bytes, head: bytes = b""
) -> list[bytes | memoryview]:
    """A mode, how many frames there are, their lengths, and the frames; each holds as many bytes but the last."""
    parts_count = 1
    if plane.rank and len(content) <= _RANKED_PART_BYTES * _PARTS_LIMIT_COUNT:
        parts_count = max(1, len(content) // _RANKED_PART_BYTES)
    part_bytes = -(-len(content) // parts_count) or 1
    frames = packer.frames(content.data, part_bytes, is_wide=plane.width_bytes > 1)
    out = bytearray((mode,)) + head
    put_varint(out, len(frames))
    for frame in frames:
        put_varint(out, len(frame))
    return [bytes(out), *frames]


def _decode(
    reader: VarintReader, plane: Plane, length_bytes: int, before: Sequence[Bytes], row_blocks: int
) -> Bytes:
    mode = reader.byte()
    if mode == _RAW:
        return np.frombuffer(reader.take(length_bytes), np.uint8)
    if mode == _COLUMNS:
        width = row_blocks * plane.width_bytes
        if not 0 < width <= length_bytes:
            raise ChunkMismatchError(
                f"{reader.what} is damaged: a plane of {length_bytes} bytes has no columns"
            )
        classes = np.frombuffer(reader.take(width), np.uint8)
        return from_columns(classes, _unpack(reader, length_bytes))
    if mode != _ZSTD:
        raise ChunkMismatchError(f"{reader.what} has a plane of the unknown mode {mode}; update Edgeward")
    content = _unpack(reader, length_bytes)
    return from_rank(content, plane.rank(before), plane.row_bytes) if plane.rank else content


def _unpack(reader: VarintReader, length_bytes: int) -> Bytes:
    count = reader.varint()
    if count > _PARTS_LIMIT_COUNT or bool(count) != bool(length_bytes):
        raise ChunkMismatchError(f"{reader.what} is damaged: a plane claims {count} frames")
    lengths = [reader.varint() for _ in range(count)]
    part_bytes = -(-length_bytes // max(count, 1))
    parts = []
    for length in lengths:
        expected = min(part_bytes, length_bytes)
        parts.append(np.frombuffer(unpack_frame(reader.take(length), expected, reader.what), np.uint8))
        length_bytes -= expected
    return parts[0] if count == 1 else np.concatenate([np.empty(0, np.uint8), *parts])
