"""A straight line that a few wild values cannot bend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from origin.geo.distance import MS_PER_KM_OF_LIGHT, Line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_SAMPLED_COUNT = 4096
_ROUNDS_COUNT = 12
_CLOSE_MS = 1.0
_FARTHEST_KM = 20_000.0
_BELIEF_COUNT = 20


def fitted_line(apart_km: Floats, rtts_ms: Floats, before: Line) -> Line:
    """The line with the least absolute deviations, by iteratively reweighted least squares.

    The line that was believed before weighs as much as 20 measurements, evenly over all distances; never less
    than light in vacuum (E. J. Schlossmacher, "An Iterative Technique for Absolute Deviations Curve Fitting", JASA
    68(344), 1973).
    """
    step = max(1, len(apart_km) // _SAMPLED_COUNT)
    believed_km = np.linspace(0.0, _FARTHEST_KM, _BELIEF_COUNT)
    x = np.concatenate([apart_km[::step], believed_km])
    y = np.concatenate([rtts_ms[::step], before.at_0_ms + before.ms_per_km * believed_km])
    weight = np.ones_like(x)
    slope, intercept = before.ms_per_km, before.at_0_ms
    for _ in range(_ROUNDS_COUNT):
        total = weight.sum()
        mean_x, mean_y = (weight * x).sum() / total, (weight * y).sum() / total
        slope = float((weight * (x - mean_x) * (y - mean_y)).sum() / (weight * (x - mean_x) ** 2).sum())
        slope = max(slope, MS_PER_KM_OF_LIGHT)
        intercept = max(0.0, float(mean_y - slope * mean_x))
        weight = 1 / np.maximum(np.abs(y - intercept - slope * x), _CLOSE_MS)
    return Line(slope, intercept)
