"""Nearness: the nodes of a pool in the order of their round trips to one client's spot, found as far as it is asked.

Nodes are kept in cells of a few degrees. No signal is faster than light in vacuum, so a cell has a least round trip
to a spot; cells are opened in that order, and only when somebody asks for nodes past those that are known to come
first. So a client in a large fleet costs as much as the nodes around it, and what was found is kept for all clients
of the spot until the pool changes or the network's estimates do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from origin.geo.distance import EARTH_RADIUS_KM, MEAN_DISTANCE_KM, distance_km, estimated_rtt_ms, least_rtt_ms

if TYPE_CHECKING:
    from origin.api import Place
    from origin.geo.client_spot import ClientSpot
    from origin.geo.network import Network, RttSource
    from origin.pool import Pool

_CELL_DEGREES = 5.0
_RENEW_S = 10.0
_RENEW_OWN_S = 1.0
"""The network learns all the time: an order is made anew for it at most so often, for one that probes by itself…"""
_KEEP_S = 60.0
"""…and after so long in any case, since measurements grow old."""
_SPOTS_LIMIT_COUNT = 4096
_ROWS_LIMIT_COUNT = 2_000_000
_ROUND_TRIPS_TLS = 3  # TCP, TLS 1.3, the request
_ROUND_TRIPS_PLAIN = 2  # TCP, the request
_SOURCES: tuple[RttSource, ...] = ("none", "place", "region", "as", "prefix", "probe")
_GRID = "grid"
_STEP_COUNT = 256


class Near(NamedTuple):
    """A node as seen from a spot.

    Attributes:
        network_s: the round trips that a first request takes, of `rtt_ms` each.
    """

    network_s: float
    rtt_ms: float
    source: RttSource
    apart_km: float | None


class _Cell:
    """Rows of a pool whose nodes are near one another: within `radius_km` of the middle."""

    __slots__ = ("middle", "radius_km", "rows")

    def __init__(self, placed: list[tuple[Place, int]]) -> None:
        self.rows = [row for _, row in placed]
        vectors = [_vector(place) for place, _ in placed]
        total = [sum(axis) for axis in zip(*vectors, strict=True)]
        length = math.hypot(*total) or 1.0
        self.middle = tuple(part / length for part in total)
        self.radius_km = max(_arc_km(self.middle, vector) for vector in vectors)


class Order:
    """The nodes around one spot, nearest first.

    Attributes:
        unknown: nothing is known of the client, so the network counts for nothing, for all nodes alike.
        network_s: of the nodes that are known to come first, in order; whoever is not among them is further away.
        rtt_ms: theirs.
        rows: which rows of the pool they are.
    """

    def __init__(self, pool: Pool, spot: ClientSpot, network: Network | None, now_s: float) -> None:
        self.epoch = 0 if network is None else network.epoch
        self.made_at_s = now_s
        self.unknown = spot.place is None and not (
            spot.prefix or spot.region or spot.as_number or spot.client
        )
        self._pool = pool
        self._spot = spot
        self._network = network
        self._nears: dict[int, Near] = {}
        self._found: list[tuple[Near, int]] = []  # opened, past the horizon
        self.network_s, self.rtt_ms, self._apart_km = np.empty(0), np.empty(0), np.empty(0)
        self._sources = np.empty(0, dtype=np.int8)
        self.rows = np.empty(0, dtype=np.intp)
        placed, placeless = _grid(pool)
        self._cells: list[tuple[float, int, _Cell]] = []
        if spot.place is None:
            placeless = list(range(len(pool.rows)))
        else:
            here = _vector(spot.place)
            for number, cell in enumerate(placed):
                least_km = max(0.0, _arc_km(here, cell.middle) - cell.radius_km)
                self._cells.append((least_rtt_ms(least_km), number, cell))
            self._cells.sort(reverse=True)
        self._open(placeless)
        self._settle()

    @property
    def horizon_s(self) -> float:
        """Whoever is not among the known nodes is at least so far."""
        return _ROUND_TRIPS_PLAIN * self._cells[-1][0] / 1000 if self._cells else math.inf

    def fresh(self, network: Network | None, now_s: float) -> bool:
        """Whether the estimates in it still hold."""
        age_s = now_s - self.made_at_s
        if network is None or network.epoch == self.epoch:
            return age_s < _KEEP_S
        return age_s < (_RENEW_OWN_S if self._spot.client else _RENEW_S)

    def extend(self) -> bool:
        """Find some more nodes, about as many as are known; False when all are."""
        if not self._cells:
            return False
        wanted_count = max(_STEP_COUNT, len(self.rows))
        opened_count = 0
        while self._cells and opened_count < wanted_count:
            rows = self._cells.pop()[2].rows
            self._open(rows)
            opened_count += len(rows)
        self._settle()
        return True

    def near_at(self, position: int) -> Near:
        """The node at this position of the order."""
        near = self._nears.get(position)
        if near is None:
            apart_km = self._apart_km.item(position)
            near = self._nears[position] = Near(
                self.network_s.item(position),
                self.rtt_ms.item(position),
                _SOURCES[self._sources.item(position)],
                None if math.isnan(apart_km) else apart_km,
            )
        return near

    def _open(self, rows: list[int]) -> None:
        self._found.extend((self.look(row), row) for row in rows)

    def _settle(self) -> None:
        """Take over what no closed cell can come before."""
        horizon_s = self.horizon_s
        self._found.sort(key=_network_s)
        count = len(self._found)
        while count and self._found[count - 1][0].network_s > horizon_s:
            count -= 1
        if not count:
            return
        nears = [near for near, _ in self._found[:count]]
        rows = [row for _, row in self._found[:count]]
        del self._found[:count]
        join = np.concatenate
        self.network_s = join([self.network_s, [near.network_s for near in nears]])
        self.rtt_ms = join([self.rtt_ms, [near.rtt_ms for near in nears]])
        apart_km = [math.nan if near.apart_km is None else near.apart_km for near in nears]
        self._apart_km = join([self._apart_km, apart_km])
        sources = np.array([_SOURCES.index(near.source) for near in nears], dtype=np.int8)
        self._sources = join([self._sources, sources])
        self.rows = join([self.rows, np.array(rows, dtype=np.intp)])

    def look(self, row: int) -> Near:
        """Any node as seen from the spot; `near_at` knows those of the order."""
        report, spot = self._pool.rows[row].member.report, self._spot
        place = report.place
        apart_km = None if spot.place is None or place is None else distance_km(spot.place, place)
        source: RttSource
        if self.unknown:
            rtt_ms, source = 0.0, "none"
        elif self._network is not None:
            estimate = self._network.estimate(spot, report.node_id, place, self.made_at_s)
            rtt_ms, source = estimate.rtt_ms, estimate.source
        else:
            rtt_ms = estimated_rtt_ms(MEAN_DISTANCE_KM if apart_km is None else apart_km)
            source = "none" if apart_km is None else "place"
        if apart_km is not None:
            rtt_ms = max(rtt_ms, least_rtt_ms(apart_km))
        round_trips = _ROUND_TRIPS_TLS if report.url.startswith("https:") else _ROUND_TRIPS_PLAIN
        return Near(round_trips * rtt_ms / 1000, rtt_ms, source, apart_km)


def _network_s(found: tuple[Near, int]) -> float:
    return found[0].network_s


def order_of(pool: Pool, spot: ClientSpot, network: Network | None, now_s: float) -> Order:
    """The order of a pool around a spot, kept while it holds."""
    order: Order | None = pool.kept.get(spot)
    if order is not None and order.fresh(network, now_s):
        return order
    order = Order(pool, spot, network, now_s)
    pool.kept.pop(spot, None)
    pool.kept[spot] = order
    # The oldest go first; each new one makes room for itself, so two go where too many are kept.
    limit_count = max(16, min(_SPOTS_LIMIT_COUNT, _ROWS_LIMIT_COUNT // max(1, len(pool.rows))))
    if len(pool.kept) > limit_count:
        for key in [key for key in list(pool.kept)[:3] if key not in {_GRID, spot}][:2]:
            del pool.kept[key]
    return order


def _grid(pool: Pool) -> tuple[list[_Cell], list[int]]:
    """The cells of a pool, and the rows of nodes that do not say where they are."""
    grid: tuple[list[_Cell], list[int]] | None = pool.kept.get(_GRID)
    if grid is None:
        placeless: list[int] = []
        cells: dict[tuple[int, int], list[tuple[Place, int]]] = {}
        for row, seat in enumerate(pool.rows):
            place = seat.member.report.place
            if place is None:
                placeless.append(row)
            else:
                key = (int(place.lat // _CELL_DEGREES), int(place.lon // _CELL_DEGREES))
                cells.setdefault(key, []).append((place, row))
        grid = pool.kept[_GRID] = [_Cell(placed) for placed in cells.values()], placeless
    return grid


def _vector(place: Place) -> tuple[float, ...]:
    lat, lon = math.radians(place.lat), math.radians(place.lon)
    return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)


def _arc_km(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    # By the chord, which is exact for near points where the arc cosine is not.
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.dist(a, b) / 2))
