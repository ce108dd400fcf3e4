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
    turned = np.empty(len(plane), np.uint8)
    np.take(_turned(matrix), order, axis=0, out=turned[:whole].reshape(width_bytes, -1), mode="clip")
    turned[whole:] = plane[whole:]
    return classes.tobytes(), turned


def from_columns(classes: Bytes, turned: Bytes) -> Bytes:
    """The inverse of `to_columns`; the width is the number of classes."""
    width = len(classes)
    whole = len(turned) // width * width
    order = np.argsort(classes, kind="stable")
    plane = np.empty(len(turned), np.uint8)
    places = np.empty(width, np.intp)
    places[order] = np.arange(width)
    columns = turned[:whole].reshape(width, -1).take(places, axis=0)
    _turn_back(columns, plane[:whole].reshape(-1, width))
    plane[whole:] = turned[whole:]
    return plane


_EIGHT = 8


def _turned(matrix: Bytes) -> Bytes:
    """The transpose, laid out anew; eight columns move together first, which is quicker."""
    rows, width = matrix.shape
    if width % _EIGHT:
        return np.ascontiguousarray(matrix.T)
    eights = np.ascontiguousarray(matrix.view(np.uint64).T).view(np.uint8)
    return np.ascontiguousarray(eights.reshape(-1, rows, _EIGHT).transpose(0, 2, 1)).reshape(width, rows)


def _turn_back(columns: Bytes, matrix: Bytes) -> None:
    """Write the transpose of `columns` into `matrix`."""
    rows, width = matrix.shape
    if width % _EIGHT:
        matrix[:] = columns.T
        return
    eights = np.ascontiguousarray(columns.reshape(-1, _EIGHT, rows).transpose(0, 2, 1))
    matrix.view(np.uint64)[:] = eights.view(np.uint64).reshape(-1, rows).T


def by_rank(plane: Bytes, ranks: Bytes, row_bytes: int) -> Bytes:
    """The rows of a plane by rising rank; equal ones stay in their order."""
    rows = plane.view(_ROW_TYPES[row_bytes])
    ordered: Bytes = rows[_order(ranks)]
    return ordered.view(np.uint8)


def from_rank(ordered: Bytes, ranks: Bytes, row_bytes: int) -> Bytes:
    """The inverse of `by_rank`."""
    row_type = _ROW_TYPES[row_bytes]
    rows = np.empty(len(ranks), row_type)
    rows[_order(ranks)] = ordered.view(row_type)
    return rows.view(np.uint8)


def _order(ranks: Bytes) -> Bytes:
    """Where the ranks lie, by rising rank; equal ones as they come.

    A rank with its place below it makes a number like no other, of 32 bits nearly always; such numbers are sorted
    sooner than ranks.
    """
    place_bits, low = len(ranks).bit_length(), ranks.min(initial=np.iinfo(ranks.dtype).max)
    if int(ranks.max(initial=0)) - int(low) >= 1 << 32 - place_bits:
        order: Bytes = np.argsort(ranks, kind="stable")
        return order
    keys: Bytes = (ranks - low).astype(np.uint32) << np.uint32(place_bits)
    keys |= np.arange(len(ranks), dtype=np.uint32)
    keys.sort()
    keys &= np.uint32((1 << place_bits) - 1)
    places: Bytes = keys.astype(np.intp)
    return places


def _columns(blocks: Bytes, *bounds: int) -> list[Bytes]:
    """The fields between these bounds, each as one plane."""
    return [
        np.ascontiguousarray(_as_rows(blocks, start, end)).view(np.uint8).reshape(-1)
        for start, end in pairwise(bounds)
    ]


def _as_rows(blocks: Bytes, start: int, end: int) -> Bytes:
    """The field between two bounds, one number as wide as it for each block: moved as a whole, which is quicker."""
    return blocks[:, start:end].view(np.dtype((np.void, end - start)))


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
            _as_rows(blocks, start, end)[:] = _as_rows(plane.reshape(count, end - start), 0, end - start)
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


def _times_01(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101_0101_0101_0101)


# Eight bits as the lowest ones of eight bytes, and back: bit n and byte n, counted from the low end.
_SPREAD = np.array([sum((bits >> n & 1) << 8 * n for n in range(8)) for bits in range(256)], "<u8")
_GATHER = np.uint64(sum(1 << 56 - 7 * n for n in range(8)))


def _gathered(eights: Bytes) -> Bytes:
    """The lowest bits of each eight bytes as one byte."""
    bits: Bytes = (((eights & _times_01(1)) * _GATHER) >> np.uint64(56)).astype(np.uint8)
    return bits


def _fives(low: Bytes, high: Bytes) -> tuple[Bytes, Bytes]:
    """5-bit quants of 32 to a block: their upper four bits in pairs, and their lowest bits."""
    eights = low.view("<u8")
    ones = np.empty(high.shape, np.uint8)
    ones[:, :2], ones[:, 2:] = _gathered(eights), _gathered(eights >> np.uint64(4))
    pairs = eights >> np.uint64(1) & _times_01(0x77)
    pairs |= _SPREAD[high[:, :2]] << np.uint64(3)
    pairs |= _SPREAD[high[:, 2:]] << np.uint64(7)
    return pairs.view(np.uint8).reshape(-1), ones.reshape(-1)


def _unfives(pairs: Bytes, ones: Bytes) -> tuple[Bytes, Bytes]:
    eights, ones = pairs.view("<u8").reshape(-1, 2), ones.reshape(-1, 4)
    high = np.empty(ones.shape, np.uint8)
    high[:, :2], high[:, 2:] = _gathered(eights >> np.uint64(3)), _gathered(eights >> np.uint64(7))
    low = (eights & _times_01(0x77)) << np.uint64(1)
    low |= _SPREAD[ones[:, :2]]
    low |= _SPREAD[ones[:, 2:]] << np.uint64(4)
    return low.view(np.uint8), high


def _five_bit_layout(form: Form, head_bytes: int, rank: Rank) -> Layout:
    """Q5_0 and Q5_1: scales, then 4 bytes of fifth bits, then 16 bytes of nibbles."""

    def split(blocks: Bytes) -> list[Bytes]:
        *heads, high, low = _columns(blocks, *range(head_bytes + 1), head_bytes + 4, BLOCK_BYTES[form])
        pairs, ones = _fives(low.reshape(-1, 16), high.reshape(-1, 4))
        return [*heads, pairs, ones]

    def join(planes: Sequence[Bytes]) -> Bytes:
        *heads, pairs, ones = planes
        blocks = np.empty((len(heads[0]), BLOCK_BYTES[form]), np.uint8)
        for place, head in enumerate(heads):
            blocks[:, place] = head
        low, high = _unfives(pairs, ones)
        _as_rows(blocks, head_bytes, head_bytes + 4)[:] = _as_rows(high, 0, 4)
        _as_rows(blocks, head_bytes + 4, BLOCK_BYTES[form])[:] = _as_rows(low, 0, 16)
        return blocks

    heads = tuple(_HEAD[:head_bytes])
    return Layout((*heads, Plane(16, rank, 16), Plane(4)), split, join)


def _stretches(rows: Bytes, width_bytes: int, step: int) -> list[Bytes]:
    """Rows in stretches of this width, dealt out to so many arrays of 64-bit numbers: wide ones compute quicker."""
    wide = rows.view(np.dtype((np.void, width_bytes))).reshape(-1)
    return [np.ascontiguousarray(wide[first::step]).view("<u8") for first in range(step)]


def _dealt(stretches: Sequence[Bytes], width_bytes: int) -> Bytes:
    """The inverse of `_stretches`, as bytes."""
    width = np.dtype((np.void, width_bytes))
    rows = np.empty(sum(one.nbytes for one in stretches) // width_bytes, width)
    for first, one in enumerate(stretches):
        rows[first :: len(stretches)] = one.view(width)
    return rows.view(np.uint8)


def _split_q4_k(blocks: Bytes) -> list[Bytes]:
    """The nibbles of sub-blocks 2n and 2n + 1 share 32 bytes; each sub-block gets 16 bytes of its own."""
    *heads, nibbles = _columns(blocks, 0, 1, 2, 3, 4, 16, 144)
    return [*heads, _regrouped(nibbles)]


def _regrouped(nibbles: Bytes) -> Bytes:
    """Of each 32 bytes, first all low halves and then all high ones; its own inverse."""
    one, other = _stretches(nibbles, 16, 2)
    low, high, four = _times_01(0x0F), _times_01(0xF0), np.uint64(4)
    return _dealt([(one & low) | ((other & low) << four), ((one & high) >> four) | (other & high)], 16)


def _join_q4_k(planes: Sequence[Bytes]) -> Bytes:
    *heads, quants = planes
    blocks = np.empty((len(heads[0]), 144), np.uint8)
    for place in range(4):
        blocks[:, place] = heads[place]
    _as_rows(blocks, 4, 16)[:] = _as_rows(heads[4].reshape(-1, 12), 0, 12)
    _as_rows(blocks, 16, 144)[:] = _as_rows(_regrouped(quants).reshape(-1, 128), 0, 128)
    return blocks


def _split_q6_k(blocks: Bytes) -> list[Bytes]:
    """Each quant has 4 bits in one place and 2 in another; together they are one byte below 64."""
    low, high, scales, low_scale, high_scale = _columns(blocks, 0, 128, 192, 208, 209, 210)
    halves, (tops,) = _stretches(low, 32, 2), _stretches(high, 32, 1)
    quants = []
    for part in range(4):
        nibbles = halves[part & 1] >> np.uint64((part >> 1) * 4) & _times_01(0x0F)
        nibbles |= (tops >> np.uint64(part * 2) & _times_01(3)) << np.uint64(4)
        quants.append(nibbles)
    return [low_scale, high_scale, scales, _dealt(quants, 32)]


def _join_q6_k(planes: Sequence[Bytes]) -> Bytes:
    low_scale, high_scale, scales, plane = planes
    count = len(low_scale)
    quants = _stretches(plane, 32, 4)
    blocks = np.empty((count, 210), np.uint8)
    nibbles, four = _times_01(0x0F), np.uint64(4)
    low = _dealt([(quants[n] & nibbles) | ((quants[n + 2] & nibbles) << four) for n in range(2)], 32)
    high = (quants[0] >> four) & _times_01(3)
    for part in range(1, 4):
        high |= (quants[part] >> four & _times_01(3)) << np.uint64(2 * part)
    _as_rows(blocks, 0, 128)[:] = _as_rows(low.reshape(count, 128), 0, 128)
    _as_rows(blocks, 128, 192)[:] = _as_rows(high.view(np.uint8).reshape(count, 64), 0, 64)
    _as_rows(blocks, 192, 208)[:] = _as_rows(scales.reshape(count, 16), 0, 16)
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
