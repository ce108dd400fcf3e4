"""RttTable: round trips that were measured between places and nodes, in arrays, bounded."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from origin.geo.sphere import on_sphere

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from origin.api import Place

    Floats = NDArray[np.float64]

_LEAST_PLACES_COUNT = 64
_NOTICED_MS = 1.0


class RttTable:
    """A row for each place, a column for each node, NaN where nothing is measured.

    The place that was updated least recently makes room for a new one.

    Attributes:
        columns: each node's column.
    """

    def __init__(self, entries_limit_count: int = 2**20) -> None:
        self.columns: dict[str, int] = {}
        self._entries_limit_count = entries_limit_count
        self._rows: OrderedDict[Hashable, int] = OrderedDict()  # the place updated last is the last
        self._places: Floats = np.zeros((0, 3))
        self._nodes: Floats = np.zeros((0, 3))
        self._node_places: list[Place] = []
        self._rtts_ms: Floats = np.zeros((0, 0))

    def __len__(self) -> int:
        """How many places have measured anything."""
        return len(self._rows)

    @property
    def places(self) -> Floats:
        """The places as points of the unit sphere, a row each."""
        return self._places[: len(self._rows)]

    @property
    def nodes(self) -> Floats:
        """The nodes as points of the unit sphere, in the order of their columns."""
        return self._nodes[: len(self.columns)]

    @property
    def rtts_ms(self) -> Floats:
        """What is measured: places by nodes."""
        return self._rtts_ms[: len(self._rows), : len(self.columns)]

    def put(self, key: Hashable, place: Place, node_id: str, node_place: Place, rtt_ms: float) -> bool:
        """Say what is measured between a place and a node; whether that changes anything worth a look."""
        column = self._column(node_id, node_place)
        row = self._row(key, place)  # may move the whole table
        before_ms = self._rtts_ms[row, column]
        self._rtts_ms[row, column] = rtt_ms
        return not abs(before_ms - rtt_ms) <= _NOTICED_MS  # NaN, too

    def copied(self) -> RttTable:
        """A copy that stays as it is, for whoever works on it meanwhile."""
        found = copy.copy(self)
        for name, held in vars(self).items():  # what is in those never changes: it need not be copied
            setattr(found, name, copy.copy(held))
        return found

    def forget(self, key: Hashable) -> None:
        """Forget a place."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        last = len(self._rows)
        if row != last:  # the last row fills the gap
            self._places[row], self._rtts_ms[row] = self._places[last], self._rtts_ms[last]
            moved = next(k for k, at in self._rows.items() if at == last)
            self._rows[moved] = row  # keeps its turn

    def _row(self, key: Hashable, place: Place) -> int:
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
            return row
        limit = max(_LEAST_PLACES_COUNT, self._entries_limit_count // max(1, len(self.columns)))
        while len(self._rows) >= limit:
            self.forget(next(iter(self._rows)))
        row = len(self._rows)
        if row == len(self._places):
            self._grow(2 * row + 8, len(self._nodes))
        self._rows[key] = row
        self._places[row] = on_sphere(place)
        self._rtts_ms[row] = math.nan
        return row

    def _column(self, node_id: str, place: Place) -> int:
        column = self.columns.get(node_id)
        if column is None:
            column = len(self.columns)
            if column == len(self._nodes):
                self._grow(len(self._places), 2 * column + 8)
            self.columns[node_id] = column
            self._node_places.append(place)
        elif self._node_places[column] == place:
            return column
        self._node_places[column] = place
        self._nodes[column] = on_sphere(place)
        self._rtts_ms[:, column] = math.nan  # it has moved: what was measured is of another place
        return column

    def _grow(self, rows_count: int, columns_count: int) -> None:
        def grown(table: Floats, shape: tuple[int, int]) -> Floats:
            larger = np.full(shape, math.nan)
            larger[: table.shape[0], : table.shape[1]] = table
            return larger

        self._places = grown(self._places, (rows_count, 3))
        self._nodes = grown(self._nodes, (columns_count, 3))
        self._rtts_ms = grown(self._rtts_ms, (rows_count, columns_count))
