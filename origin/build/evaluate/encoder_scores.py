"""What vectors are worth: nearness to a reference's, and task scores. Pure arithmetic on unit vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

NEIGHBOURS_COUNT = 10
_NEWTON_STEPS = 12
_RIDGE = 1.0


def unit(vectors: Floats) -> Doubles:
    """Each row made one long; a row of zeros stays one."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1.0))


def cosines(candidate: Doubles, reference: Doubles) -> Doubles:
    """Cosine of each row with the reference's."""
    return np.asarray(np.einsum("ij,ij->i", candidate, reference))


def kept_neighbours(candidate: Doubles, reference: Doubles) -> Doubles:
    """For each row the share of its ten nearest rows by the reference that are its ten nearest still."""
    wanted, found = _nearest(reference), _nearest(candidate)
    kept = [len(np.intersect1d(one, other)) for one, other in zip(wanted, found, strict=True)]
    return np.asarray(np.array(kept, np.float64) / wanted.shape[1])


def _nearest(vectors: Doubles) -> Integers:
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    count = min(NEIGHBOURS_COUNT, len(vectors) - 1)
    return np.asarray(np.argpartition(-near, count - 1, axis=1)[:, :count])


def similarity_of(vectors: Doubles, scores: Doubles) -> Callable[[Integers], float]:
    """Pearson's correlation of cosines with what people said, for the texts that are drawn.

    A text that is drawn twice is no pair with itself.
    """
    count = len(vectors)
    table = np.zeros((count, count))
    table[np.triu_indices(count, 1)] = scores
    table += table.T
    near = vectors @ vectors.T

    def correlation(drawn: Integers) -> float:
        one, other = np.triu_indices(len(drawn), 1)
        rows, columns = drawn[one], drawn[other]
        pairs = rows != columns
        return _pearson(near[rows[pairs], columns[pairs]], table[rows[pairs], columns[pairs]])

    return correlation


def _pearson(one: Doubles, other: Doubles) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size > 0 else float("nan")


def probed(vectors: Doubles, labels: Integers, train_count: int) -> Doubles:
    """1 for each judged row that a linear probe classifies rightly, else 0.

    The probe is logistic regression with a ridge of 1, one class against the rest, by Newton's method.
    """
    rows = np.hstack([vectors, np.ones((len(vectors), 1))])
    classes = np.unique(labels[:train_count])

    def margin(each: np.int64) -> Doubles:
        weights = _logistic(rows[:train_count], (labels[:train_count] == each).astype(np.float64))
        return np.asarray(rows[train_count:] @ weights)

    if len(classes) == 2:
        chosen = np.where(margin(classes[1]) > 0, classes[1], classes[0])
    else:
        chosen = classes[np.argmax(np.array([margin(each) for each in classes]), axis=0)]
    return np.asarray((chosen == labels[train_count:]).astype(np.float64))


def _logistic(rows: Doubles, wanted: Doubles) -> Doubles:
    weights = np.zeros(rows.shape[1])
    ridge = np.full(rows.shape[1], _RIDGE)
    ridge[-1] = 1e-6  # the intercept is free
    for _ in range(_NEWTON_STEPS):
        likely = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (likely - wanted) + ridge * weights
        curve = (rows.T * (likely * (1 - likely))) @ rows + np.diag(ridge)
        weights -= np.linalg.solve(curve, slope)
    return weights


def reciprocal_ranks(vectors: Doubles) -> Doubles:
    """Of each text in the first half, 1 over the place of its partner in the second half among all of that."""
    count = len(vectors) // 2
    near = vectors[:count] @ vectors[count:].T
    right = near.diagonal()[:, np.newaxis]
    return np.asarray(1.0 / (near >= right).sum(axis=1))
