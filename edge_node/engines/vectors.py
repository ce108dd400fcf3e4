"""From a model's raw output to unit vectors, relevances and probabilities, and rows to tensors: numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines.text_encoding import Pooling

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def pad(rows: Sequence[Sequence[int] | Integers], *, fill: int = 0) -> Integers:
    """Rows of any length as one array [rows, longest], filled up on the right."""
    filled = np.full((len(rows), max(len(row) for row in rows)), fill, np.int64)
    for index, row in enumerate(rows):
        filled[index, : len(row)] = row
    return filled


def mask_of(lengths: Sequence[int]) -> Integers:
    """1 where a row has a token of its own, 0 where it is filled up: [rows, longest]."""
    counts = np.asarray(lengths, np.int64)
    return (np.arange(counts.max()) < counts[:, np.newaxis]).astype(np.int64)


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
    return unit_rows(values)


def unit_rows(values: Floats) -> Floats:
    """Each row at length 1; a row of zeros stays."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit: Floats = (values / np.maximum(norms, 1e-12)).astype(np.float32, copy=False)
    return unit


def cut_vectors(vectors: Floats, dims: int) -> Floats:
    """The first `dims` numbers of each vector, at length 1 again (Matryoshka, https://arxiv.org/abs/2205.13147)."""
    return unit_rows(vectors[:, :dims])


def logistic(logits: Floats) -> Floats:
    """Each logit as a probability of its own."""
    exponents = np.exp(-np.abs(logits))  # of a positive number it would overflow
    likely: Floats = np.where(logits >= 0, 1 / (1 + exponents), exponents / (1 + exponents))
    return likely.astype(np.float32, copy=False)


def softmax(logits: Floats) -> Floats:
    """Each row of logits as probabilities that sum to 1."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32, copy=False)
    return shares
