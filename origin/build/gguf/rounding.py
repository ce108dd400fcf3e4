"""Rounding a matrix so that what it computes changes least: each rounding's error is made good by what comes after.

The loss of rounding W to V is the mean over calibration tokens of |Wx - Vx|², which the Gram matrix G = E[xxᵀ] gives
as tr((W-V) G (W-V)ᵀ). Columns are rounded one after the other, and what an error does to the output is taken from the
columns that are left (GPTQ: Frantar et al., "GPTQ: Accurate Post-Training Quantization", 2023, algorithm 1). Then
each code, and each scale, is set again to the best for all others as they are (coordinate descent), which can
only lessen the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.blocks import BLOCK, Blocks, BlockType
from origin.build.gguf.scale_search import best_scales, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_DAMPING = 0.01
_LEAST = np.float32(1e-30)


def compensated(
    kind: BlockType, values: NDArray[np.float32], gram: NDArray[np.float32], *, sweeps_count: int = 3
) -> Blocks:
    """Round `values`, [rows, columns], for inputs with this Gram matrix, [columns, columns].

    Columns that no input uses are rounded by themselves.
    """
    gram = damped(gram)
    rows_count, columns = values.shape
    inverse_root = _inverse_root(gram)
    codes = np.empty((columns, rows_count), np.uint8)
    scales, lows = np.zeros((2, columns // BLOCK, rows_count), np.float16)
    parts = [slice(start, start + BLOCK) for start in range(0, columns, BLOCK)]
    blocks = [_Block(kind, codes[part], scales[i], lows[i]) for i, part in enumerate(parts)]
    left = np.ascontiguousarray(values.T, np.float32)
    for part, block in zip(parts, blocks, strict=True):
        root = inverse_root[part, part]
        # What an error costs when the columns after it make good what they can.
        block.scales[:], block.lows[:] = best_scales(
            kind, left[part], (1 / np.diag(root) ** 2).astype(np.float32)
        )
        left[part.stop :] -= inverse_root[part, part.stop :].T @ _round_in_order(block, left[part], root)
    for _ in range(sweeps_count):
        _sweep(parts, blocks, values, gram)
    return Blocks(
        kind,
        np.ascontiguousarray(scales.T),
        np.ascontiguousarray(lows.T) if kind.has_low else None,
        np.ascontiguousarray(codes.T),
    )


def loss(values: NDArray[np.float32], other: NDArray[np.float32], gram: NDArray[np.float32]) -> float:
    """What `other` in place of `values` costs: mean squared change of the output, summed over the rows."""
    apart = values - other
    return float(np.einsum("rc,rc->", apart @ gram, apart, dtype=np.float64))


def damped(gram: NDArray[np.float32]) -> NDArray[np.float32]:
    """`gram` with something on its diagonal, so that it can be inverted."""
    diagonal = np.diag(gram)
    mean = max(float(diagonal.mean()), float(_LEAST))
    whole = gram + np.diag(np.full(len(gram), _DAMPING * mean, np.float32))
    return np.asarray(whole, np.float32)


def _inverse_root(gram: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upper U with UᵀU = gram⁻¹."""
    inverse = np.linalg.inv(gram.astype(np.float64))
    root = np.linalg.cholesky((inverse + inverse.T) / 2).T
    return np.ascontiguousarray(root, np.float32)


@dataclass(frozen=True, slots=True)
class _Block:
    """Of every row the block at one place, as views into the whole: what is set here is set there.

    Attributes:
        codes: [32, rows].
        scales: [rows].
        lows: [rows]; zeros where the type has none.
    """

    kind: BlockType
    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    lows: NDArray[np.float16]

    def steps(self) -> NDArray[np.float32]:
        """What the codes stand for, in scales."""
        return self.kind.steps[self.codes]

    def values(self) -> NDArray[np.float32]:
        """The numbers that are stored, [32, rows]."""
        values = self.scales.astype(np.float32) * self.steps() + self.lows.astype(np.float32)
        return np.asarray(values, np.float32)

    def put(self, column: int, wanted: NDArray[np.float32]) -> NDArray[np.float32]:
        """Set the codes of one column to the nearest of these numbers; their steps."""
        self.codes[column] = rounded(self.kind, wanted, self.scales, self.lows)
        steps: NDArray[np.float32] = self.kind.steps[self.codes[column]]
        return steps


def _round_in_order(
    block: _Block, numbers: NDArray[np.float32], root: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Set the codes, column after column; the errors that the columns after the block have to make good."""
    numbers = numbers.copy()
    errors = np.empty_like(numbers)
    scale, low = block.scales.astype(np.float32), block.lows.astype(np.float32)
    for column in range(BLOCK):
        steps = block.put(column, numbers[column])
        errors[column] = (numbers[column] - scale * steps - low) / root[column, column]
        numbers[column + 1 :] -= root[column, column + 1 :, None] * errors[column]
    return errors


def _sweep(
    parts: Sequence[slice], blocks: Sequence[_Block], values: NDArray[np.float32], gram: NDArray[np.float32]
) -> None:
    """One round of coordinate descent over all scales and codes, in place."""
    stored = np.concatenate([block.values() for block in blocks])
    pull = gram @ (np.ascontiguousarray(values.T) - stored)
    for part, block in zip(parts, blocks, strict=True):
        own, before = gram[part, part], stored[part]
        _set_scale(block, own, pull[part])
        after = block.values()
        _set_codes(block, after, own, pull[part] - own @ (after - before))
        pull -= gram[:, part] @ (after - before)


def _set_scale(block: _Block, own: NDArray[np.float32], pull: NDArray[np.float32]) -> None:
    """Set each row's scale to the best for its codes."""
    steps = block.steps()
    square = np.maximum((steps * (own @ steps)).sum(axis=0), _LEAST)
    better = block.scales.astype(np.float32) + (steps * pull).sum(axis=0) / square
    block.scales[:] = np.where(np.isfinite(better.astype(np.float16)), better, block.scales).astype(
        np.float16
    )


def _set_codes(
    block: _Block, stored: NDArray[np.float32], own: NDArray[np.float32], pull: NDArray[np.float32]
) -> None:
    """Set one code after the other to the best for all others; `stored` and `pull` follow, in place."""
    scale, low = block.scales.astype(np.float32), block.lows.astype(np.float32)
    for column in range(BLOCK):
        steps = block.put(column, stored[column] + pull[column] / own[column, column])
        change = scale * steps + low - stored[column]
        pull -= own[:, column, None] * change
        stored[column] += change
