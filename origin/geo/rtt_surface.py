"""RttSurface: the round trip between any place and any node, guessed from those that were measured.

A guess is the sum of three parts, each learned from what this fleet itself has measured, and worth nothing before:

    line      the usual round trip over the distance: least absolute deviations, begun from the line of `distance`
    node      how much slower than the line this node is for most: the median of what the line leaves over
    nearby    some of what both leave over at the 8 nearest measured places, by inverse distance (D. Shepard, "A
              two-dimensional interpolation function for irregularly-spaced data", ACM 1968)

How much neighbours tell of each other is learned, too: the slope with which what is left over at a place follows what
its neighbours say, each place being left out in turn. How wrong guesses may be is judged by neighbours believed that
much, guesses are made with half of it: the least of several guesses is more often than not one that was guessed too
low, so that to believe neighbours more makes the single guess better and the choice among nodes worse. No guess is
below light in vacuum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from origin.geo.distance import SAME_PLACE_KM, SAME_PLACE_RTT_MS, Line, least_rtt_ms
from origin.geo.lines import fitted_line
from origin.geo.probing import filled
from origin.geo.sphere import apart_km, on_sphere

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from origin.api import Place
    from origin.geo.rtt_table import RttTable

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

_NEIGHBOURS_COUNT = 8
_LOOKED_AT_COUNT = 64
"""Of so many nearest places those are taken that have measured the node in question."""
_NEAR_KM = 100.0
"""Places nearer than this are as good as each other: what databases of addresses and cells of the map blur."""
_NODE_DOUBT_COUNT = 3
_BELIEVED_SHARE = 0.5
_NOTHING = 1e-12
_SCENARIOS_COUNT = 160
_ROWS_AT_ONCE_COUNT = 8
_COLUMNS_AT_ONCE_COUNT = 128
"""With so many at once the neighbours of a piece are some 60,000 numbers: half a millisecond, and caches hold them."""
_MEDIANS_AT_ONCE_COUNT = 32
"""Of columns, each in a call of its own."""
_DISTANCES_AT_ONCE_COUNT = 8192


@dataclass(frozen=True, slots=True)
class RttSurface:
    """What a table of measured round trips says at one moment; `fitted` makes it.

    Attributes:
        left: what line and node leave over of each measured pair, places by nodes; NaN where nothing is measured.
        follows: how much neighbours tell of each other, from 0 to 1.
        miss_ms: how wrong guesses are on average; 0 while nothing is measured.
        missed: truth less guess at some places that were left out in turn, a row each, nodes in columns.
        missed_at: those places.
        left_over_ms: what the line alone leaves over of all pairs there, in one row.
    """

    columns: Mapping[str, int]
    places: Floats
    nodes: Floats
    line: Line
    node_ms: Floats
    left: Floats
    follows: float
    miss_ms: float
    missed: Floats
    missed_at: Floats
    left_over_ms: Floats

    def guess(self, place: Place) -> Floats:
        """The round trips in ms between a place and every node that anybody has measured, by `columns`."""
        if not self.left.size:
            return np.zeros(len(self.columns))
        at = on_sphere(place)
        nearby = _BELIEVED_SHARE * self.follows * _nearby(apart_km(self.places, at)[None, :], self.left)[0]
        far_km = apart_km(self.nodes, at)
        guessed: Floats = on_line(self.line, far_km) + self.node_ms + nearby
        return np.maximum(guessed, least_rtt_ms(far_km))

    def misses(self, node_ids: Sequence[str]) -> Floats:
        """How wrong guesses are, in ms: truth less guess at places that were left out in turn.

        Returns:
            A row for each place and a column for each node; a node that nobody has measured may miss as any other.
        """
        columns = np.array([self.columns.get(node_id, -1) for node_id in node_ids], dtype=np.int64)
        if len(columns) and columns.min() >= 0:
            return self.missed[:, columns]  # which has no gaps
        found = np.full((len(self.missed), len(node_ids)), math.nan)
        found[:, columns >= 0] = self.missed[:, columns[columns >= 0]]
        return filled(found, self.left_over_ms)

    def counts(self, place: Place) -> Floats:
        """How much each row of `misses` counts for a place: by inverse distance."""
        return 1 / (apart_km(self.missed_at, on_sphere(place)) + _NEAR_KM)


def fitted(table: RttTable) -> RttSurface:
    """Line and nodes, learned from what is measured now."""
    return next(surface for surface in fitting(table) if surface is not None)


def fitting(table: RttTable) -> Iterator[RttSurface | None]:
    """The same in pieces, so that whoever has others waiting can rest between them: None after each, then the surface.

    With 300 places and 200 nodes a piece takes a millisecond or less, but for the line's.
    """
    rtts_ms, places = table.rtts_ms.copy(), table.places.copy()
    known, far_km = ~np.isnan(rtts_ms), np.empty_like(rtts_ms)
    rows_count = max(1, _DISTANCES_AT_ONCE_COUNT // max(1, rtts_ms.shape[1]))
    for row in range(0, len(places), rows_count):
        some = slice(row, row + rows_count)
        far_km[some] = apart_km(places[some, None, :], table.nodes[None, :, :])
        yield None
    elsewhere = known & (far_km > SAME_PLACE_KM)
    line = fitted_line(far_km[elsewhere], rtts_ms[elsewhere], Line())
    yield None
    left = rtts_ms - on_line(line, far_km)
    count = known.sum(axis=0)
    medians = np.zeros(len(count))
    for column in range(len(count)):
        if count[column]:
            medians[column] = np.median(left[known[:, column], column])
        if column % _MEDIANS_AT_ONCE_COUNT == _MEDIANS_AT_ONCE_COUNT - 1:
            yield None
    node_ms = medians * count / (count + _NODE_DOUBT_COUNT)
    left -= node_ms
    yield None
    rows = _spread(len(left), _SCENARIOS_COUNT)
    there, said = left[rows], np.zeros((len(rows), left.shape[1]))
    for _ in _say_nearby(places, left, rows, said):
        yield None
    follows = _follows(there, said)
    missed = there - follows * said
    yield None
    off = np.abs(missed[~np.isnan(missed)])
    over = there + node_ms
    over = over[~np.isnan(over)]
    for column in range(0, missed.shape[1], _MEDIANS_AT_ONCE_COUNT):
        columns = slice(column, column + _MEDIANS_AT_ONCE_COUNT)
        missed[:, columns] = filled(missed[:, columns], over[column:])
        yield None
    yield RttSurface(
        dict(table.columns), places, table.nodes.copy(), line, node_ms, left, follows,
        float(off.mean()) if off.size else 0.0, missed, places[rows], over,
    )  # fmt: skip


def _follows(there: Floats, said: Floats) -> float:
    """The slope of what is there over what neighbours say of it, from 0 to 1, by least absolute deviations.

    Through the origin that is the median of the ratios, each weighted by what neighbours say (P. Bloomfield,
    W. Steiger, "Least Absolute Deviations", 1983). Where nothing can be told, neighbours are believed.
    """
    known = ~np.isnan(there) & (np.abs(said) > _NOTHING)
    if not known.any():
        return 1.0
    ratios, weights = there[known] / said[known], np.abs(said[known])
    order = np.argsort(ratios)
    reached = np.cumsum(weights[order])
    middle = ratios[order][np.searchsorted(reached, reached[-1] / 2)]
    return float(np.clip(middle, 0.0, 1.0))


def _say_nearby(places: Floats, left: Floats, rows: Indices, said: Floats) -> Iterator[None]:
    """Fill in what the neighbours of these places say of them, as if they had not measured anything themselves."""
    for start in range(0, len(rows), _ROWS_AT_ONCE_COUNT):
        those = rows[start : start + _ROWS_AT_ONCE_COUNT]
        near_km = apart_km(places[those][:, None, :], places[None, :, :])
        near_km[np.arange(len(those)), those] = math.inf
        nearest, near_km = _nearest(near_km)
        for column in range(0, left.shape[1], _COLUMNS_AT_ONCE_COUNT):
            columns = slice(column, column + _COLUMNS_AT_ONCE_COUNT)
            said[start : start + len(those), columns] = _said_by(nearest, near_km, left[:, columns])
            yield


def on_line(line: Line, far_km: Floats) -> Floats:
    """The usual round trips in ms over many distances, as `distance.estimated_rtt_ms` has one; NaN where unknown."""
    return np.where(far_km <= SAME_PLACE_KM, SAME_PLACE_RTT_MS, line.at_0_ms + line.ms_per_km * far_km)


def _nearby(far_km: Floats, left: Floats) -> Floats:
    """For each row of distances to places, what the nearest 8 that know a column say of it; 0 where none does."""
    return _said_by(*_nearest(far_km), left)


def _nearest(far_km: Floats) -> tuple[Indices, Floats]:
    """For each row of distances, which places are nearest, in order, and how far away they are."""
    looked_at = min(_LOOKED_AT_COUNT, far_km.shape[1])
    nearest = np.argpartition(far_km, looked_at - 1, axis=1)[:, :looked_at]
    near_km = np.take_along_axis(far_km, nearest, axis=1)
    order = np.argsort(near_km, axis=1)
    return np.take_along_axis(nearest, order, axis=1), np.take_along_axis(near_km, order, axis=1)


def _said_by(nearest: Indices, near_km: Floats, left: Floats) -> Floats:
    """What the first 8 of the nearest places that know a column say of it; 0 where none does."""
    said = left[nearest]
    counts = ~np.isnan(said) & np.isfinite(near_km)[:, :, None]
    counts &= np.cumsum(counts, axis=1, dtype=np.int8) <= _NEIGHBOURS_COUNT
    weights = counts / (near_km + _NEAR_KM)[:, :, None]
    summed = (weights * np.where(counts, said, 0.0)).sum(axis=1)
    found: Floats = summed / np.maximum(weights.sum(axis=1), _NOTHING)
    return found


def _spread(count: int, limit_count: int) -> Indices:
    """Up to so many indices, evenly over all."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, limit_count)).astype(np.int64))
