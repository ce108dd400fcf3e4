"""ggml's block types of 32 numbers: scales and codes to bytes and back, and ggml's own way to choose both.

Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are chosen bit for bit as ggml's reference functions choose them (ggml-quants.c,
`quantize_row_*_ref`), in float32, as a compiler that does not fuse multiplication and addition makes them. All types
here say the same: a number is its block's scale times a step of the type's table, plus the block's lowest number
where the type has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 32
"""Numbers in a block."""
_NL = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@dataclass(frozen=True, slots=True)
class BlockType:
    """How blocks of one type are laid out.

    Attributes:
        bits: of one code.
        steps: what a code stands for, by the code; ascending.
        has_low: the block's lowest number is stored too, and added.
    """

    name: str
    bits: int
    steps: NDArray[np.float32]
    has_low: bool

    @property
    def block_bytes(self) -> int:
        """Of one block: scale, lowest number, codes."""
        return 2 + 2 * self.has_low + BLOCK * self.bits // 8


def _of(name: str, bits: int, first: int, *, has_low: bool = False) -> BlockType:
    return BlockType(name, bits, np.arange(first, first + 2**bits, dtype=np.float32), has_low)


BLOCK_TYPES: dict[str, BlockType] = {
    kind.name: kind
    for kind in (
        _of("Q4_0", 4, -8),
        _of("Q4_1", 4, 0, has_low=True),
        _of("Q5_0", 5, -16),
        _of("Q5_1", 5, 0, has_low=True),
        _of("Q8_0", 8, -128),
        BlockType("IQ4_NL", 4, np.array(_NL, np.float32), has_low=False),
    )
}


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix in blocks.

    Attributes:
        scales: float16, [rows, blocks].
        lows: the same, or None where the type has none.
        codes: uint8, [rows, columns].
    """

    kind: BlockType
    scales: NDArray[np.float16]
    lows: NDArray[np.float16] | None
    codes: NDArray[np.uint8]

    def values(self) -> NDArray[np.float32]:
        """The numbers that an engine computes with, float32 [rows, columns]."""
        rows, columns = self.codes.shape
        steps = self.kind.steps[self.codes].reshape(rows, -1, BLOCK)
        values = self.scales.astype(np.float32)[:, :, None] * steps
        if self.lows is not None:
            values += self.lows.astype(np.float32)[:, :, None]
        return values.reshape(rows, columns)

    def to_bytes(self) -> NDArray[np.uint8]:
        """As ggml stores them, uint8 [rows, bytes of a row]."""
        rows, columns = self.codes.shape
        codes = self.codes.reshape(rows, columns // BLOCK, BLOCK)
        parts: list[NDArray[np.uint8]] = [_halves(self.scales)]
        if self.lows is not None:
            parts.append(_halves(self.lows))
        if self.kind.bits == 8:
            parts.append(np.bitwise_xor(codes, np.uint8(128)))  # two's complement of 128 less
        else:
            if self.kind.bits == 5:
                parts.append(np.packbits(codes > 15, axis=-1, bitorder="little"))
            low, high = codes[..., :16] & np.uint8(15), codes[..., 16:] & np.uint8(15)
            parts.append(low | (high << np.uint8(4)))
        return np.concatenate(parts, axis=-1).reshape(rows, -1)


def from_bytes(name: str, content: NDArray[np.uint8]) -> Blocks:
    """What `to_bytes` made, or ggml: uint8 [rows, bytes of a row]."""
    kind = BLOCK_TYPES[name]
    rows = content.shape[0]
    blocks = np.ascontiguousarray(content).reshape(rows, -1, kind.block_bytes)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0]
    lows = np.ascontiguousarray(blocks[..., 2:4]).view(np.float16)[..., 0] if kind.has_low else None
    rest = blocks[..., 4 if kind.has_low else 2 :]
    if kind.bits == 8:
        codes = (np.ascontiguousarray(rest).view(np.int8).astype(np.int16) + 128).astype(np.uint8)
    else:
        packed = rest[..., -16:]
        codes = np.concatenate([packed & 15, packed >> 4], axis=-1)
        if kind.bits == 5:
            codes |= np.unpackbits(rest[..., :4], axis=-1, bitorder="little") << 4
    return Blocks(kind, scales, lows, codes.reshape(rows, -1))


def encode(name: str, values: NDArray[np.float32]) -> Blocks:
    """Choose scales and codes as ggml's reference does without an importance matrix; bit for bit.

    `values` is float32 [rows, columns], the columns a multiple of 32. IQ4_NL is searched for, in `scale_search`.
    """
    kind = BLOCK_TYPES[name]
    rows, columns = values.shape
    blocks = np.ascontiguousarray(values, np.float32).reshape(rows, columns // BLOCK, BLOCK)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if kind.has_low:
            scales, lows, codes = _encode_with_low(kind, blocks)
        else:
            (scales, codes), lows = _encode_symmetric(kind, blocks), None
    return Blocks(kind, scales, lows, codes.reshape(rows, columns))


def _encode_symmetric(
    kind: BlockType, blocks: NDArray[np.float32]
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    if kind.bits == 8:
        scales = np.abs(blocks).max(axis=-1) / np.float32(127)
        scaled = blocks * _inverse(scales)[..., None]
        # C's roundf: halves go away from zero.
        whole = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
        off = np.abs(scaled - np.trunc(scaled)) < np.float32(0.5)
        codes = np.where(off, np.trunc(scaled), whole) + 128
        return scales.astype(np.float16), codes.astype(np.uint8)
    half = 2 ** (kind.bits - 1)
    # ggml starts from +0, so a block of zeros of either sign has the scale -0.
    largest = _first(blocks, np.abs(blocks).argmax(axis=-1)) + np.float32(0)
    scales = largest / np.float32(-half)
    shifted = np.trunc(blocks * _inverse(scales)[..., None] + np.float32(half + 0.5))
    return scales.astype(np.float16), np.clip(shifted, 0, 2 * half - 1).astype(np.uint8)


def _encode_with_low(
    kind: BlockType, blocks: NDArray[np.float32]
) -> tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.uint8]]:
    most = 2**kind.bits - 1
    low = _first(blocks, blocks.argmin(axis=-1))
    scales = (_first(blocks, blocks.argmax(axis=-1)) - low) / np.float32(most)
    shifted = np.trunc((blocks - low[..., None]) * _inverse(scales)[..., None] + np.float32(0.5))
    return scales.astype(np.float16), low.astype(np.float16), np.clip(shifted, 0, most).astype(np.uint8)


def _inverse(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(scales == 0, np.float32(0), np.float32(1) / scales)


def _first(numbers: NDArray[np.float32], place: NDArray[np.intp]) -> NDArray[np.float32]:
    return np.take_along_axis(numbers, place[..., None], axis=-1)[..., 0]


def _halves(numbers: NDArray[np.float16]) -> NDArray[np.uint8]:
    halves: NDArray[np.uint8] = np.ascontiguousarray(numbers.astype("<f2"))[..., None].view(np.uint8)
    return halves


def nearest_codes(kind: BlockType, numbers: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The code whose step is nearest to each number, which is in units of the block's scale."""
    middles = (kind.steps[1:] + kind.steps[:-1]) / 2
    if kind.name == "IQ4_NL":
        codes: NDArray[Any] = np.searchsorted(middles, numbers, side="right")
    else:
        codes = np.clip(np.floor(numbers - kind.steps[0] + 0.5), 0, 2**kind.bits - 1)
    return codes.astype(np.uint8)
