"""The scale of a block that loses least, when columns do not count alike: a search over where its largest number goes.

For each candidate the numbers are rounded, and the scale is then the one of least weighted squared error for these
codes; the candidate with the least error wins. llama.cpp's `make_qx_quants` (ggml-quants.c) searches alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.blocks import BLOCK, Blocks, BlockType, nearest_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHRINKS = np.linspace(0.72, 1.16, 23, dtype=np.float32)
_LEAST = np.float32(1e-30)


def best_scales(
    kind: BlockType, numbers: NDArray[np.float32], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """The scale and the lowest number (0 where the type has none) of one block of each row.

    `numbers` is [32, rows]; `weights`, [32] or [32, rows], says what a squared error costs. A row of zeros has scale 0.
    """
    if weights.ndim == 1:
        weights = weights[:, None]
    return _with_low(kind, numbers, weights) if kind.has_low else _without_low(kind, numbers, weights)


def _without_low(
    kind: BlockType, numbers: NDArray[np.float32], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    largest = np.take_along_axis(numbers, np.abs(numbers).argmax(axis=0)[None], axis=0)[0]
    best = np.full(numbers.shape[1], -np.inf, np.float32)
    chosen = np.zeros(numbers.shape[1], np.float32)
    # The table reaches further on one side; either may take the largest number.
    for end in {float(kind.steps[0]), float(kind.steps[-1])}:
        for shrink in _SHRINKS:
            inverse = _inverse(largest / np.float32(end) * shrink)
            steps = kind.steps[nearest_codes(kind, numbers * inverse)]
            weighted = weights * steps
            product = (weighted * numbers).sum(axis=0)
            square = np.maximum((weighted * steps).sum(axis=0), _LEAST)
            gain = product * product / square
            better = gain > best
            best[better], chosen[better] = gain[better], (product / square)[better]
    return chosen.astype(np.float16), np.zeros(numbers.shape[1], np.float16)


def _with_low(
    kind: BlockType, numbers: NDArray[np.float32], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    most = np.float32(2**kind.bits - 1)
    total = np.broadcast_to(weights, numbers.shape).sum(axis=0)
    mean = (weights * numbers).sum(axis=0) / np.maximum(total, _LEAST)
    best = np.full(numbers.shape[1], np.inf, np.float32)
    scales, lows = np.zeros((2, numbers.shape[1]), np.float32)
    for shrink in _SHRINKS:
        middle, half = (high + low) / 2, (high - low) / 2 * shrink
        inverse = _inverse(2 * half / most)
        codes = np.clip(np.floor((numbers - (middle - half)) * inverse + np.float32(0.5)), 0, most)
        spread = codes - (weights * codes).sum(axis=0) / np.maximum(total, _LEAST)
        square = (weights * spread * spread).sum(axis=0)
        slope = (weights * spread * numbers).sum(axis=0) / np.maximum(square, _LEAST)
        start = mean - slope * (weights * codes).sum(axis=0) / np.maximum(total, _LEAST)
        error = (weights * (numbers - slope * codes - start) ** 2).sum(axis=0)
        better = (error < best) & (slope > 0)
        best[better], scales[better], lows[better] = error[better], slope[better], start[better]
    flat = ~np.isfinite(best)
    lows[flat] = mean[flat]
    return scales.astype(np.float16), lows.astype(np.float16)


def searched(kind: BlockType, values: NDArray[np.float32], importance: NDArray[np.float32]) -> Blocks:
    """Round each number to the nearest step of the best scales; `importance` says what each column's error costs."""
    rows, columns = values.shape
    scales = np.empty((rows, columns // BLOCK), np.float16)
    lows = np.empty_like(scales)
    codes = np.empty((rows, columns), np.uint8)
    for block in range(columns // BLOCK):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        numbers = np.ascontiguousarray(values[:, part].T)
        scales[:, block], lows[:, block] = best_scales(kind, numbers, importance[part])
        codes[:, part] = rounded(kind, numbers, scales[:, block], lows[:, block]).T
    return Blocks(kind, scales, lows if kind.has_low else None, codes)


def rounded(
    kind: BlockType, numbers: NDArray[np.float32], scales: NDArray[np.float16], lows: NDArray[np.float16]
) -> NDArray[np.uint8]:
    """The nearest codes of numbers, [..., rows], under these scales."""
    inverse = _inverse(scales.astype(np.float32))
    return nearest_codes(kind, (numbers - lows.astype(np.float32)) * inverse)


def _inverse(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(np.abs(scales) < _LEAST, np.float32(0), np.float32(1) / scales)
    return np.asarray(inverse, np.float32)
