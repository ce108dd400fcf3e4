"""Figures with 95 % intervals by the bootstrap: whole chunks are resampled, because their tokens hang together.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), the percentile method.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from origin.build.evaluate.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Doubles = NDArray[np.float64]

RESAMPLES_COUNT = 1000
_EDGES = (2.5, 97.5)


def exact(value: float) -> Figure:
    """A figure that was counted, not sampled."""
    known = _known(value)
    return Figure(value=known, low=known, high=known)


def resampled(
    groups_count: int,
    seed: int,
    statistic: Callable[[NDArray[np.int64]], float],
    *,
    resamples: int = RESAMPLES_COUNT,
) -> Figure:
    """A figure of groups: `statistic` is given their numbers, each as often as it was drawn."""
    value = statistic(np.arange(groups_count))
    if not math.isfinite(value):
        return Figure(value=None, low=None, high=None)
    rng = np.random.default_rng(seed)
    draws = [statistic(rng.integers(0, groups_count, groups_count)) for _ in range(resamples)]
    finite = np.array([draw for draw in draws if math.isfinite(draw)])
    if not len(finite):
        return Figure(value=value, low=None, high=None)
    low, high = np.percentile(finite, _EDGES)
    # A percentile of a skewed statistic may miss the figure itself: the interval is made to hold it.
    return Figure(value=value, low=min(value, float(low)), high=max(value, float(high)))


def mean_of(
    values: Doubles, groups: list[slice], seed: int, *, then: Callable[[float], float] = float
) -> Figure:
    """The mean of all values, each group's together, and what `then` makes of it."""
    sums = np.array([values[group].sum() for group in groups], np.float64)
    counts = np.array([group.stop - group.start for group in groups], np.float64)
    return resampled(len(groups), seed, lambda drawn: then(float(sums[drawn].sum() / counts[drawn].sum())))


def median_of(values: Sequence[float], seed: int) -> Figure:
    """The median of measured values, such as the quotients of rounds."""
    found = np.array(values, np.float64)
    return resampled(len(found), seed, lambda drawn: float(np.median(found[drawn])))


def percentile_of(values: Doubles, groups: list[slice], seed: int, percent: float) -> Figure:
    """A percentile of all values together."""

    def statistic(drawn: NDArray[np.int64]) -> float:
        return float(np.percentile(np.concatenate([values[groups[index]] for index in drawn]), percent))

    return resampled(len(groups), seed, statistic)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
