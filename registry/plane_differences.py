"""A chunk as its difference from another one of the same form: field by field, so that small changes stay small.

16-bit scales are subtracted as numbers and folded, so that a small change of either sign leaves the upper byte 0;
everything else is subtracted byte by byte, modulo 256 (better than XOR on every type that was measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import zstandard

from registry.element_forms import BLOCK_BYTES, Form
from registry.errors import ChunkMismatchError
from registry.frames import unpack_frame
from registry.planes import layout_of
from registry.varint import VarintReader, put_varint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from registry.chunking import Segment

    Bytes = NDArray[Any]

_RAW, _ZSTD = 0, 1
# How many of the first planes are halves of 16-bit numbers: low byte, high byte, and so on.
_WORDS_COUNT = {
    **dict.fromkeys((Form.WORDS_2, Form.Q4_0, Form.Q5_0, Form.Q8_0, Form.Q6_K), 1),
    **dict.fromkeys((Form.Q4_1, Form.Q5_1, Form.Q4_K, Form.Q5_K), 2),
}
_FIVE_BITS = {Form.Q5_0: 2, Form.Q5_1: 4}


def encode_difference(raw: bytes, before: bytes, segments: Sequence[Segment], level: int) -> bytes:
    """What turns `before` into `raw`; both have these segments."""
    out = bytearray()
    put_varint(out, len(segments))
    position = 0
    compressor = zstandard.ZstdCompressor(level=level, write_content_size=False)
    for segment in segments:
        out.append(segment.form)
        if len(segments) > 1:
            put_varint(out, segment.length_bytes)
        end = position + segment.length_bytes
        new, old = _split(segment.form, raw[position:end]), _split(segment.form, before[position:end])
        planes = [one - other for one, other in zip(new, old, strict=True)]
        for number in range(0, 2 * _WORDS_COUNT.get(segment.form, 0), 2):
            folded = _fold(_word(new, number) - _word(old, number))
            planes[number], planes[number + 1] = folded.astype(np.uint8), (folded >> 8).astype(np.uint8)
        if segment.form in _FIVE_BITS:
            planes[-2] = planes[-2] & 31
        for plane in planes:
            packed = compressor.compress(plane.tobytes())
            if len(packed) < len(plane):
                out.append(_ZSTD)
                put_varint(out, len(packed))
                out += packed
            else:
                out.append(_RAW)
                out += plane.tobytes()
        position = end
    return bytes(out)


def decode_difference(payload: memoryview, before: bytes, what: str) -> bytes:
    """The chunk that `encode_difference` was given; as long as `before`.

    Raises:
        ChunkMismatchError: the difference is damaged, or of something else.
    """
    reader = VarintReader(payload, what)
    count = reader.varint()
    out, position = [], 0
    for _ in range(count):
        try:
            form = Form(reader.byte())
        except ValueError as error:
            raise ChunkMismatchError(f"{what} has a form that is unknown here; update Edgeward") from error
        length = reader.varint() if count > 1 else len(before)
        end = position + length
        if end > len(before) or not length:
            raise ChunkMismatchError(f"{what} is damaged: it is longer than what it differs from")
        old = _split(form, before[position:end])
        planes = []
        for plane in old:
            mode = reader.byte()
            if mode == _RAW:
                content = bytes(reader.take(len(plane)))
            elif mode == _ZSTD:
                content = unpack_frame(reader.take(reader.varint()), len(plane), what)
            else:
                raise ChunkMismatchError(f"{what} has a plane of the unknown mode {mode}; update Edgeward")
            planes.append(np.frombuffer(content, np.uint8))
        out.append(_join(form, _added(form, planes, old)))
        position = end
    reader.finish()
    return b"".join(out)


def _added(form: Form, differences: Sequence[Bytes], old: Sequence[Bytes]) -> list[Bytes]:
    planes = [new + before for new, before in zip(differences, old, strict=True)]
    for number in range(0, 2 * _WORDS_COUNT.get(form, 0), 2):
        words = _unfold(_word(differences, number)) + _word(old, number)
        planes[number], planes[number + 1] = words.astype(np.uint8), (words >> 8).astype(np.uint8)
    if form in _FIVE_BITS:
        planes[-2] = planes[-2] & 31
    return planes


def _split(form: Form, raw: bytes) -> list[Bytes]:
    """The planes of a stretch, and what is left after its last block; 5-bit quants as one byte each."""
    data = np.frombuffer(raw, np.uint8)
    block_bytes = BLOCK_BYTES[form]
    end = len(data) // block_bytes * block_bytes
    blocks = data[:end].reshape(-1, block_bytes)
    head = _FIVE_BITS.get(form)
    if head is None:
        return [*layout_of(form).split(blocks), data[end:]]
    fifth = np.unpackbits(np.ascontiguousarray(blocks[:, head : head + 4]), axis=1, bitorder="little")
    nibbles = blocks[:, head + 4 :]
    quants = np.concatenate([nibbles & 15, nibbles >> 4], axis=1) | fifth << 4
    heads = [np.ascontiguousarray(blocks[:, place]) for place in range(head)]
    return [*heads, quants.reshape(-1), data[end:]]


def _join(form: Form, planes: Sequence[Bytes]) -> bytes:
    *fields, tail = planes
    head = _FIVE_BITS.get(form)
    if head is None:
        return bytes(layout_of(form).join(fields).tobytes() + tail.tobytes())
    quants = fields[-1].reshape(-1, 32)
    blocks = np.empty((len(quants), BLOCK_BYTES[form]), np.uint8)
    for place in range(head):
        blocks[:, place] = fields[place]
    blocks[:, head : head + 4] = np.packbits(quants >> 4, axis=1, bitorder="little")
    blocks[:, head + 4 :] = (quants[:, :16] & 15) | (quants[:, 16:] & 15) << 4
    return bytes(blocks.tobytes() + tail.tobytes())


def _word(planes: Sequence[Bytes], number: int) -> Bytes:
    words: Bytes = planes[number] | (planes[number + 1].astype(np.uint16) << 8)
    return words


def _fold(words: Bytes) -> Bytes:
    signed = words.view(np.int16)
    folded: Bytes = ((signed << 1) ^ (signed >> 15)).view(np.uint16)
    return folded


def _unfold(folded: Bytes) -> Bytes:
    words: Bytes = (folded >> 1) ^ (-(folded & 1).astype(np.int16)).view(np.uint16)
    return words
