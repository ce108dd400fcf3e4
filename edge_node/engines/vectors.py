"""From token vectors to one unit vector a text, and which texts are computed together: numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines.text_encoding import Pooling

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def plan_batches(lengths: Sequence[int], *, rows_count: int, batch_tokens: int) -> list[list[int]]:
    """Indices of texts in batches, longest first, so that a batch has little padding.

    Args:
        lengths: tokens of each text.
        rows_count: the most texts of a batch.
        batch_tokens: the most tokens of a batch, padding included; a single longer text still gets its batch.
    """
    batches: list[list[int]] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        open_rows_count = len(batches[-1]) if batches else rows_count
        if open_rows_count >= rows_count or (open_rows_count + 1) * width > batch_tokens:
            batches.append([])
            width = lengths[index]
        batches[-1].append(index)
    return batches


def pad(rows: Sequence[Sequence[int]]) -> tuple[Integers, Integers]:
    """Token ids and attention mask, both of shape [rows, longest], filled up with zeros on the right."""
    width = max(len(row) for row in rows)
    ids = np.zeros((len(rows), width), np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def pool(output: NDArray[Any], mask: Integers, pooling: Pooling) -> Floats:
    """One vector a text, of length 1.

    Args:
        output: [rows, tokens, dims], or [rows, dims] where the model pools by itself.
        mask: [rows, tokens].
        pooling: the mean over the tokens that count, or the first token.
    """
    values = output.astype(np.float32, copy=False)
    if values.ndim == 3:
        if pooling == "first":
            values = values[:, 0]
        else:
            weights = mask.astype(np.float32)[:, :, np.newaxis]
            values = (values * weights).sum(axis=1) / weights.sum(axis=1)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit: Floats = (values / np.maximum(norms, 1e-12)).astype(np.float32, copy=False)
    return unit
