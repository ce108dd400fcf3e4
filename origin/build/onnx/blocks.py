"""Blocks: weights as small integers with one scale for each block of a row, as MatMulNBits and block Gather read them.

A grid may be stored in more bits than it uses (`levels_bits` below `bits`): the file has the kernel's width, and on the
wire, where codes are packed by their entropy, it is as small as its levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from origin.build.onnx.checkpoint import Floats

Codes = NDArray[np.int8]

# Of the scale that just reaches the largest number: clipping it a little often costs less than a coarser grid.
_SHRINKS = np.linspace(0.70, 1.04, 18, dtype=np.float32)
_ROWS_COUNT = 2048
# Below it a block is zeros: its scale has no inverse in single precision.
_LEAST_SCALE = 1e-36


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How a row is rounded.

    Attributes:
        bits: of a stored code, 4 or 8.
        levels_bits: codes run from -2^(levels_bits-1) to 2^(levels_bits-1)-1.
        block_count: numbers that share a scale.
        short_scales: scales are bfloat16 numbers, written as single precision: half as many bytes on the wire.
    """

    bits: int
    levels_bits: int
    block_count: int
    short_scales: bool = True

    @property
    def least(self) -> int:
        """The lowest code."""
        return -(1 << (self.levels_bits - 1))

    @property
    def most(self) -> int:
        """The highest code."""
        return (1 << (self.levels_bits - 1)) - 1


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rounded weights: `codes` [rows, columns] and `scales` [rows, blocks]."""

    codes: Codes
    scales: Floats
    grid: Grid

    def values(self) -> Floats:
        """What the kernels compute with: [rows, columns]."""
        rows, columns = self.codes.shape
        blocks = self.codes.reshape(rows, -1, self.grid.block_count).astype(np.float32)
        return (blocks * self.scales[:, :, np.newaxis]).reshape(rows, columns)


def round_blocks(weights: Floats, grid: Grid, importance: Floats | None = None) -> Blocks:
    """The nearest weights on the grid, by the scales that cost least.

    For each block scales around the one that reaches its largest number are tried, of either sign as the codes reach
    one further down than up, and each is fitted once more to the codes that it gave (least squares).

    Args:
        weights: [rows, columns]; columns are a multiple of the block.
        grid: what they are rounded to.
        importance: of each column, such as its inputs' mean square; all alike where None.
    """
    parts = [
        _round_rows(weights[start : start + _ROWS_COUNT], grid, importance)
        for start in range(0, len(weights), _ROWS_COUNT)
    ]
    codes = np.concatenate([codes for codes, _ in parts])
    return Blocks(codes, np.concatenate([scales for _, scales in parts]), grid)


def short(scales: Floats) -> Floats:
    """The nearest bfloat16 numbers, ties to even, in single precision."""
    words = np.ascontiguousarray(scales, np.float32).view(np.uint32)
    rounded = (words + 0x7FFF + ((words >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


def _round_rows(weights: Floats, grid: Grid, importance: Floats | None) -> tuple[Codes, Floats]:
    rows, columns = weights.shape
    blocks = weights.reshape(rows, columns // grid.block_count, grid.block_count).astype(np.float32)
    weighing = np.ones(columns, np.float32) if importance is None else importance.astype(np.float32)
    weighing = weighing.reshape(1, -1, grid.block_count)
    place = np.abs(blocks).argmax(axis=2)[:, :, np.newaxis]
    reach = np.take_along_axis(blocks, place, axis=2)[:, :, 0] / np.float32(grid.least)
    best_scale, best_cost = np.zeros_like(reach), np.full(reach.shape, np.inf, np.float32)
    # The last is the usual one: both ends of the codes reach.
    for shrink in (*_SHRINKS, -grid.least / grid.most):
        for scale in (reach * np.float32(shrink), -reach * np.float32(shrink)):
            codes = _codes(blocks, scale, grid)
            top = (weighing * codes * blocks).sum(axis=2)
            below = (weighing * codes * codes).sum(axis=2)
            fitted = np.divide(top, below, out=scale.copy(), where=below > 0)
            fitted = short(fitted) if grid.short_scales else fitted
            # The codes are taken again by the fitted scale, so that the scale alone says them.
            codes = _codes(blocks, fitted, grid)
            cost = (weighing * (blocks - codes * fitted[:, :, np.newaxis]) ** 2).sum(axis=2)
            better = cost < best_cost
            best_cost = np.where(better, cost, best_cost)
            best_scale = np.where(better, fitted, best_scale)
    return _codes(blocks, best_scale, grid).astype(np.int8).reshape(rows, columns), best_scale


def _codes(blocks: Floats, scales: Floats, grid: Grid) -> Floats:
    large = np.abs(scales) > _LEAST_SCALE
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=large)[:, :, np.newaxis]
    return np.clip(np.rint(blocks * inverse), grid.least, grid.most)


def packed(codes: Codes, grid: Grid) -> NDArray[np.uint8]:
    """Codes as the kernels store them, unsigned with their zero in the middle; of two 4-bit codes the first is low."""
    unsigned = (codes.astype(np.int16) + (1 << (grid.bits - 1))).astype(np.uint8)
    if grid.bits == 8:
        return unsigned
    return (unsigned[..., 0::2] | (unsigned[..., 1::2] << 4)).astype(np.uint8)
