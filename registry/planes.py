"""Blocks of numbers as planes: alike bytes together, so that an entropy coder sees how skewed they are; and back.

What general compressors miss in weights is all in the distribution of single fields: search for repetitions finds
nothing. So each block is taken apart into its fields (scales, minima, quants), 16- and 32-bit numbers into their
bytes, and 5- and 6-bit quants that a block keeps in two places become whole again. Then two orders make
distributions narrower at no or little cost:

- by rank: the quants of a block are spread around a place that its scale and minimum tell. Blocks are sorted by that
  place; whoever decodes has the scales already and so knows the order.
- by column: embeddings have columns with a mean of their own; the plane is turned and its columns put in the order
  of their means, which takes one byte a column.

Entropy coding is left to zstd, one frame for each plane. No number here depends on floating point.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from registry.element_forms import BLOCK_BYTES, Form

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    # Whole numbers of one or two bytes: what operators make of them is beyond the checker.
    Bytes = NDArray[Any]
    Split = Callable[[Bytes], list[Bytes]]
    Join = Callable[[Sequence[Bytes]], Bytes]
    Rank = Callable[[Sequence[Bytes]], Bytes]


# Numbers as wide as a row, never computed with: numpy moves one number quicker than a row of bytes.
_ROW_TYPES: dict[int, Any] = {1: np.dtype(np.uint8), 16: np.dtype(np.complex128)}


class Plane(NamedTuple):
    """One plane of a form.

    Attributes:
        width_bytes: bytes for each block.
        rank: from the planes before this one, a number for each row of the plane; rows are stored by rising rank.
        row_bytes: what is moved together when rows are put in order: 1 or 16.
        by_column: whether turning it may pay.
    """

    width_bytes: int
    rank: Rank | None = None
    row_bytes: int = 1
    by_column: bool = False


class Layout(NamedTuple):
    """A form's planes, and the way there and back; blocks are an array of shape (blocks, bytes of a block)."""

    planes: tuple[Plane, ...]
    split: Split
    join: Join


def layout_of(form: Form) -> Layout:
    """The planes of a form."""
    return _LAYOUTS[form]


def to_columns(plane: Bytes, width_bytes: int) -> tuple[bytes, Bytes]:
    """A plane with rows of this width, turned: a class for each column, and the columns by rising class.

    Bytes after the last whole row stay at the end.
    """
    whole = len(plane) // width_bytes * width_bytes
    matrix = plane[:whole].reshape(-1, width_bytes)
    means = matrix.view(np.int8).mean(axis=0, dtype=np.float32)
    low, high = float(means.min()), float(means.max())
    classes = ((means - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    order = np.argsort(classes, kind="stable")
    turned = np.ascontiguousarray(matrix.T[order])
    return classes.tobytes(), np.concatenate([turned.reshape(-1), plane[whole:]])


def from_columns(classes: Bytes, turned: Bytes) -> Bytes:
    """The inverse of `to_columns`; the width is the number of classes."""
    width = len(classes)
    whole = len(turned) // width * width
    order = np.argsort(classes, kind="stable")
    plane = np.empty(len(turned), np.uint8)
    columns = np.empty((width, whole // width), np.uint8)
    columns[order] = turned[:whole].reshape(width, -1)
    plane[:whole] = columns.T.reshape(-1)
    plane[whole:] = turned[whole:]
    return plane


def by_rank(plane: Bytes, ranks: Bytes, row_bytes: int) -> Bytes:
    """The rows of a plane by rising rank; equal ones stay in their order."""
    rows = plane.view(_ROW_TYPES[row_bytes])
    ordered: Bytes = rows[np.argsort(ranks, kind="stable")]
    return ordered.view(np.uint8)


def from_rank(ordered: Bytes, ranks: Bytes, row_bytes: int) -> Bytes:
    """The inverse of `by_rank`."""
    row_type = _ROW_TYPES[row_bytes]
    rows = np.empty(len(ranks), row_type)
    rows[np.argsort(ranks, kind="stable")] = ordered.view(row_type)
    return rows.view(np.uint8)


def _columns(blocks: Bytes, *bounds: int) -> list[Bytes]:
    """The fields between these bounds, each as one plane."""
    return [np.ascontiguousarray(blocks[:, start:end]).reshape(-1) for start, end in pairwise(bounds)]


def _fields(form: Form, *bounds: int, rank: dict[int, tuple[Rank, int]] | None = None) -> Layout:
    """A layout whose planes are the bytes between these bounds, in the order of the block."""
    by = rank or {}
    last = bounds[-1]
    block_bytes = BLOCK_BYTES[form]
    ends = (*bounds[1:], block_bytes)
    planes = tuple(
        Plane(end - start, *by[start]) if start in by else Plane(end - start, by_column=start == last)
        for start, end in zip(bounds, ends, strict=True)
    )

    def split(blocks: Bytes) -> list[Bytes]:
        return _columns(blocks, *bounds, block_bytes)

    def join(planes: Sequence[Bytes]) -> Bytes:
        count = len(planes[0]) // (ends[0] - bounds[0])
        blocks = np.empty((count, block_bytes), np.uint8)
        for start, end, plane in zip(bounds, ends, planes, strict=True):
            blocks[:, start:end] = plane.reshape(count, end - start)
        return blocks

    return Layout(planes, split, join)


def _word(low: Bytes, high: Bytes) -> Bytes:
    words: Bytes = low | (high.astype(np.uint16) << 8)
    return words


def _scale(planes: Sequence[Bytes]) -> Bytes:
    """The size of the scale, the first two planes: the larger, the nearer to zero most quants of the block."""
    return _word(planes[0], planes[1] & 0x7F)


def _scale_high(planes: Sequence[Bytes]) -> Bytes:
    return _word(planes[0], planes[1])


def _centre(planes: Sequence[Bytes]) -> Bytes:
    """Where zero lies among the quants: the ratio of minimum and scale, from the difference of their f16 bits."""
    return _word(planes[2], planes[3] & 0x7F) - _word(planes[0], planes[1] & 0x7F) + np.uint16(0x4000)


_LOG = np.array(
    [0] + [((n.bit_length() - 2) << 10) + (n << 10 >> n.bit_length() - 1) for n in range(1, 64)], np.uint16
)
"""About 1024 times the binary logarithm, drawn straight between powers of two as the bits of an f16 do."""


def _sub_centre(planes: Sequence[Bytes]) -> Bytes:
    """`_centre` for each of the eight sub-blocks of Q4_K and Q5_K, whose scales and minima have 6 bits."""
    packed = planes[4].reshape(-1, 12)
    low, middle, high = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 6 << 4)], axis=1)
    minima = np.concatenate([middle & 63, (high >> 4) | (middle >> 6 << 4)], axis=1)
    centres: Bytes = _centre(planes)[:, None] + _LOG[minima] - _LOG[scales]
    return centres.reshape(-1)


def _sub_scale(planes: Sequence[Bytes]) -> Bytes:
    """The size of the scale of each of the sixteen sub-blocks of Q6_K."""
    return np.abs(planes[2].view(np.int8).astype(np.int16)).astype(np.uint16)


def _fives(low: Bytes, high: Bytes) -> tuple[Bytes, Bytes]:
    """5-bit quants of 32 to a block: their upper four bits in pairs, and their lowest bits."""
    bits = np.unpackbits(high, axis=1, bitorder="little")
    ones = np.packbits(np.concatenate([low & 1, low >> 4 & 1], axis=1), axis=1, bitorder="little")
    pairs = (low >> 1 & 0x77) | (bits[:, :16] << 3) | (bits[:, 16:] << 7)
    return pairs.reshape(-1), ones.reshape(-1)


def _unfives(pairs: Bytes, ones: Bytes) -> tuple[Bytes, Bytes]:
    pairs = pairs.reshape(-1, 16)
    bits = np.unpackbits(ones.reshape(-1, 4), axis=1, bitorder="little")
    low = ((pairs & 0x77) << 1) | bits[:, :16] | (bits[:, 16:] << 4)
    high = np.packbits(np.concatenate([pairs >> 3 & 1, pairs >> 7], axis=1), axis=1, bitorder="little")
    return low, high


def _five_bit_layout(form: Form, head_bytes: int, rank: Rank) -> Layout:
    """Q5_0 and Q5_1: scales, then 4 bytes of fifth bits, then 16 bytes of nibbles."""

    def split(blocks: Bytes) -> list[Bytes]:
        heads = _columns(blocks, *range(head_bytes + 1))
        pairs, ones = _fives(
            blocks[:, head_bytes + 4 :], np.ascontiguousarray(blocks[:, head_bytes : head_bytes + 4])
        )
        return [*heads, pairs, ones]

    def join(planes: Sequence[Bytes]) -> Bytes:
        *heads, pairs, ones = planes
        blocks = np.empty((len(heads[0]), BLOCK_BYTES[form]), np.uint8)
        for place, head in enumerate(heads):
            blocks[:, place] = head
        blocks[:, head_bytes + 4 :], blocks[:, head_bytes : head_bytes + 4] = _unfives(pairs, ones)
        return blocks

    heads = tuple(_HEAD[:head_bytes])
    return Layout((*heads, Plane(16, rank, 16), Plane(4)), split, join)


def _split_q4_k(blocks: Bytes) -> list[Bytes]:
    """The nibbles of sub-blocks 2n and 2n + 1 share 32 bytes; each sub-block gets 16 bytes of its own."""
    pairs = blocks[:, 16:].reshape(-1, 4, 2, 16)
    first = (pairs[:, :, 0] & 15) | (pairs[:, :, 1] << 4)
    second = (pairs[:, :, 0] >> 4) | (pairs[:, :, 1] & 0xF0)
    return [*_columns(blocks, 0, 1, 2, 3, 4, 16), np.stack([first, second], axis=2).reshape(-1)]


def _join_q4_k(planes: Sequence[Bytes]) -> Bytes:
    *heads, quants = planes
    blocks = np.empty((len(heads[0]), 144), np.uint8)
    for place in range(4):
        blocks[:, place] = heads[place]
    blocks[:, 4:16] = heads[4].reshape(-1, 12)
    subs = quants.reshape(-1, 4, 2, 16)
    pairs = blocks[:, 16:].reshape(-1, 4, 2, 16)
    pairs[:, :, 0] = (subs[:, :, 0] & 15) | (subs[:, :, 1] << 4)
    pairs[:, :, 1] = (subs[:, :, 0] >> 4) | (subs[:, :, 1] & 0xF0)
    blocks[:, 16:] = pairs.reshape(-1, 128)
    return blocks


def _split_q6_k(blocks: Bytes) -> list[Bytes]:
    """Each quant has 4 bits in one place and 2 in another; together they are one byte below 64."""
    low = blocks[:, :128].reshape(-1, 2, 2, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 32)
    quants = np.empty((len(blocks), 2, 4, 32), np.uint8)
    for part in range(4):
        quants[:, :, part] = (low[:, :, part & 1] >> (part >> 1) * 4 & 15) | ((high >> part * 2 & 3) << 4)
    return [*_columns(blocks, 208, 209, 210), *_columns(blocks, 192, 208), quants.reshape(-1)]


def _join_q6_k(planes: Sequence[Bytes]) -> Bytes:
    low_scale, high_scale, scales, plane = planes
    count = len(low_scale)
    quants = plane.reshape(count, 2, 4, 32)
    blocks = np.empty((count, 210), np.uint8)
    low = (quants[:, :, :2] & 15) | (quants[:, :, 2:] << 4)
    tops = quants >> 4 & 3
    high = tops[:, :, 0] | (tops[:, :, 1] << 2) | (tops[:, :, 2] << 4) | (tops[:, :, 3] << 6)
    blocks[:, :128] = low.reshape(count, 128)
    blocks[:, 128:192] = high.reshape(count, 64)
    blocks[:, 192:208] = scales.reshape(count, 16)
    blocks[:, 208], blocks[:, 209] = low_scale, high_scale
    return blocks


_HEAD = (Plane(1), Plane(1), Plane(1), Plane(1, _scale_high))
"""A scale and a minimum, both f16: the minimum's upper byte follows from the scale, nearly."""

_LAYOUTS = {
    Form.PLAIN: _fields(Form.PLAIN, 0)._replace(planes=(Plane(1),)),
    Form.BYTES: _fields(Form.BYTES, 0),
    Form.WORDS_2: _fields(Form.WORDS_2, *range(2)),
    Form.WORDS_4: _fields(Form.WORDS_4, *range(4)),
    Form.WORDS_8: _fields(Form.WORDS_8, *range(8)),
    Form.Q4_0: _fields(Form.Q4_0, 0, 1, 2, rank={2: (_scale, 16)}),
    Form.Q4_1: _fields(Form.Q4_1, 0, 1, 2, 3, 4, rank={3: (_scale_high, 1), 4: (_centre, 16)}),
    Form.Q5_0: _five_bit_layout(Form.Q5_0, 2, _scale),
    Form.Q5_1: _five_bit_layout(Form.Q5_1, 4, _centre),
    Form.Q8_0: _fields(Form.Q8_0, 0, 1, 2),
    Form.Q2_K: _fields(Form.Q2_K, 0, 16, 80, 81, 82, 83),
    Form.Q3_K: _fields(Form.Q3_K, 0, 32, 96, 108, 109),
    Form.Q4_K: Layout((*_HEAD, Plane(12), Plane(128, _sub_centre, 16)), _split_q4_k, _join_q4_k),
    Form.Q5_K: _fields(Form.Q5_K, 0, 1, 2, 3, 4, 16, 48, rank={3: (_scale_high, 1)}),
    Form.Q6_K: Layout((Plane(1), Plane(1), Plane(16), Plane(256, _sub_scale, 16)), _split_q6_k, _join_q6_k),
    Form.MXFP4: _fields(Form.MXFP4, 0, 1),
}
