"""Rounding a matrix so that what it computes changes least: each rounding's error is made good by what comes after.

The loss of rounding W to V is the mean over calibration tokens of |Wx - Vx|², which the Gram matrix G = E[xxᵀ] gives
as tr((W-V) G (W-V)ᵀ). Columns are rounded one after the other, and what an error does to the output is taken from the
columns that are left (GPTQ: Frantar et al., "GPTQ: Accurate Post-Training Quantization", 2023, algorithm 1). Then
each code, and each scale, is set again to the best for all others as they are (coordinate descent), which can
only lessen the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.blocks import BLOCK, Blocks, BlockType
from origin.build.gguf.scale_search import best_scales, rounded

if TYPE_CHECKING:
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
    columns = values.shape[1]
    inverse_root = _inverse_root(gram)
    codes = np.empty((columns, values.shape[0]), np.uint8)
    scales = np.empty((columns // BLOCK, values.shape[0]), np.float16)
    lows = np.zeros_like(scales)
    left = np.ascontiguousarray(values.T, np.float32)
    for block in range(columns // BLOCK):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        root = inverse_root[part, part]
        # What an error costs when the columns after it make good what they can.
        scales[block], lows[block] = best_scales(
            kind, left[part], (1 / np.diag(root) ** 2).astype(np.float32)
        )
        codes[part], errors = _round_block(kind, left[part], root, scales[block], lows[block])
        left[part.stop :] -= inverse_root[part, part.stop :].T @ errors
    for _ in range(sweeps_count):
        _sweep(kind, values, gram, codes, scales, lows)
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


def _round_block(
    kind: BlockType,
    numbers: NDArray[np.float32],
    root: NDArray[np.float32],
    scales: NDArray[np.float16],
    lows: NDArray[np.float16],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes of one block, [32, rows], and the errors that the columns after it have to make good."""
    numbers = numbers.copy()
    codes = np.empty(numbers.shape, np.uint8)
    errors = np.empty_like(numbers)
    scale, low = scales.astype(np.float32), lows.astype(np.float32)
    for column in range(BLOCK):
        codes[column] = rounded(kind, numbers[column], scales, lows)
        errors[column] = (numbers[column] - scale * kind.steps[codes[column]] - low) / root[column, column]
        numbers[column + 1 :] -= root[column, column + 1 :, None] * errors[column]
    return codes, errors


def _sweep(
    kind: BlockType,
    values: NDArray[np.float32],
    gram: NDArray[np.float32],
    codes: NDArray[np.uint8],
    scales: NDArray[np.float16],
    lows: NDArray[np.float16],
) -> None:
    """One round of coordinate descent over all scales and codes, in place."""
    stored = scales.astype(np.float32).repeat(BLOCK, axis=0) * kind.steps[codes]
    stored += lows.astype(np.float32).repeat(BLOCK, axis=0)
    pull = gram @ (np.ascontiguousarray(values.T) - stored)
    for block in range(len(scales)):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        own, before = gram[part, part], stored[part]
        after = _best_scale(kind, before, codes[part], own, pull[part], scales[block], lows[block])
        after = _best_codes(
            kind, after, codes[part], own, pull[part] - own @ (after - before), scales[block], lows[block]
        )
        pull -= gram[:, part] @ (after - before)
        stored[part] = after


def _best_scale(
    kind: BlockType,
    stored: NDArray[np.float32],
    codes: NDArray[np.uint8],
    own: NDArray[np.float32],
    pull: NDArray[np.float32],
    scales: NDArray[np.float16],
    lows: NDArray[np.float16],
) -> NDArray[np.float32]:
    """Set each row's scale, in place, to the best for its codes; the block as it is stored then."""
    steps = kind.steps[codes]
    square = np.maximum((steps * (own @ steps)).sum(axis=0), _LEAST)
    better = scales.astype(np.float32) + (steps * pull).sum(axis=0) / square
    scales[:] = np.where(np.isfinite(better.astype(np.float16)), better, scales).astype(np.float16)
    stored = scales.astype(np.float32) * steps + lows.astype(np.float32)
    return np.asarray(stored, np.float32)


def _best_codes(
    kind: BlockType,
    stored: NDArray[np.float32],
    codes: NDArray[np.uint8],
    own: NDArray[np.float32],
    pull: NDArray[np.float32],
    scales: NDArray[np.float16],
    lows: NDArray[np.float16],
) -> NDArray[np.float32]:
    """Set one code after the other, in place, to the best for all others."""
    stored, pull = stored.copy(), pull.copy()
    scale, low = scales.astype(np.float32), lows.astype(np.float32)
    for column in range(BLOCK):
        wanted = stored[column] + pull[column] / own[column, column]
        codes[column] = rounded(kind, wanted, scales, lows)
        change = scale * kind.steps[codes[column]] + low - stored[column]
        pull -= own[:, column, None] * change
        stored[column] += change
    return stored
