"""Layout: where the nodes of a pool are, in arrays, for all orders of the pool; good until the pool changes.

Nodes of a large pool are kept in cells of a few degrees, so that an order can leave those far away closed. No signal
is faster than light in vacuum, so a cell has a least round trip to any spot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from origin.geo.distance import least_rtt_ms
from origin.geo.sphere import apart_km, on_sphere

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from origin.api import Place
    from origin.geo.network import Network
    from origin.pool import Pool

    Floats = NDArray[np.float64]
    Rows = NDArray[np.intp]
    Numbers = NDArray[np.int64]

ROUND_TRIPS_TLS = 3  # TCP, TLS 1.3, the request
ROUND_TRIPS_PLAIN = 2  # TCP, the request
_CELL_DEGREES = 5.0
_CELLS_FROM_COUNT = 512
"""So few nodes are looked at together in less time than their cells one by one."""


class Layout:
    """The rows of a pool.

    Attributes:
        round_trips: how many the first request to each row takes.
        open_rows: rows that are in no cell: those of a small pool, and nodes that do not say where they are.
    """

    def __init__(self, pool: Pool) -> None:
        reports = [seat.member.report for seat in pool.rows]
        self._nodes = [(report.node_id, report.place) for report in reports]
        self.round_trips = np.array(
            [ROUND_TRIPS_TLS if it.url.startswith("https:") else ROUND_TRIPS_PLAIN for it in reports],
            dtype=np.float64,
        )
        cells: dict[tuple[int, int], list[int]] = {}
        in_none: list[int] = []
        for row, (_, place) in enumerate(self._nodes):
            if place is None or len(reports) < _CELLS_FROM_COUNT:
                in_none.append(row)
            else:
                key = (int(place.lat // _CELL_DEGREES), int(place.lon // _CELL_DEGREES))
                cells.setdefault(key, []).append(row)
        self.open_rows = np.array(in_none, dtype=np.intp)
        self._cells = [np.array(rows, dtype=np.intp) for rows in cells.values()]
        self._middles = np.zeros((len(self._cells), 3))
        self._radii_km = np.zeros(len(self._cells))
        for number, rows in enumerate(self._cells):
            self._lay_round(number, rows)
        self._numbers: Numbers | None = None
        self._generation = -1

    def _lay_round(self, number: int, rows: Rows) -> None:
        """The middle of a cell, and how far from it its nodes are at most."""
        points = np.array([on_sphere(place) for place in self._places(rows)])
        total = points.sum(axis=0)
        middle = total / (float(np.linalg.norm(total)) or 1.0)
        self._middles[number] = middle
        self._radii_km[number] = apart_km(points, middle).max()

    def _places(self, rows: Rows) -> list[Place]:
        found = [self._nodes[row][1] for row in rows.tolist()]
        return [place for place in found if place is not None]

    def cells_around(self, place: Place) -> list[tuple[float, Rows]]:
        """The rows of each cell with the least round trip in ms that they can have to a place, the nearest last."""
        if not self._cells:
            return []
        middles_km = apart_km(self._middles, on_sphere(place))
        least_ms = least_rtt_ms(np.maximum(0.0, middles_km - self._radii_km))
        return [(least_ms.item(number), self._cells[number]) for number in np.argsort(-least_ms).tolist()]

    def numbers(self, network: Network) -> Numbers:
        """The network's number of each row's node."""
        if self._numbers is None or self._generation != network.nodes.generation:
            self._numbers = network.nodes.numbers(self._nodes)
            self._generation = network.nodes.generation
        return self._numbers
