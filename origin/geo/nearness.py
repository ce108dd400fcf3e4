"""Nearness: the nodes of a pool in the order of their round trips to one client's spot, found as far as it is asked.

Nodes are kept in cells of a few degrees. No signal is faster than light in vacuum, so a cell has a least round trip
to a spot; cells are opened in that order, and only when somebody asks for nodes past those that are known to come
first. So a client in a large fleet costs as much as the nodes around it, and what was found is kept for all clients
of the spot until the pool changes or the network's estimates do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from origin.geo.distance import EARTH_RADIUS_KM, MEAN_DISTANCE_KM, distance_km, estimated_rtt_ms

if TYPE_CHECKING:
    from origin.api import Place
    from origin.geo.client_spot import ClientSpot
    from origin.geo.network import Network, RttSource
    from origin.member import Seat
    from origin.pool import Pool

_LIGHT_MS_PER_KM = 2 / 299.792458
"""A round trip at the speed of light in vacuum."""
_CELL_DEGREES = 5.0
_RENEW_S = 1.0
"""The network learns all the time: an order is made anew for it at most so often…"""
_KEEP_S = 30.0
"""…and after so long in any case, since measurements grow old."""
_SPOTS_LIMIT_COUNT = 4096
_ENTRIES_LIMIT_COUNT = 400_000
_ROUND_TRIPS_TLS = 3  # TCP, TLS 1.3, the request
_ROUND_TRIPS_PLAIN = 2  # TCP, the request
_GRID = "grid"


class Near(NamedTuple):
    """A node as seen from a spot.

    Attributes:
        network_s: the round trips that a first request takes, of `rtt_ms` each.
    """

    network_s: float
    node_id: str
    seat: Seat
    rtt_ms: float
    source: RttSource
    apart_km: float | None


class _Cell:
    """Nodes that are near one another: within `radius_km` of the middle."""

    __slots__ = ("middle", "radius_km", "seats")

    def __init__(self, seats: list[tuple[Place, Seat]]) -> None:
        self.seats = [seat for _, seat in seats]
        vectors = [_vector(place) for place, _ in seats]
        total = [sum(axis) for axis in zip(*vectors, strict=True)]
        length = math.hypot(*total) or 1.0
        self.middle = tuple(part / length for part in total)
        self.radius_km = max(_arc_km(self.middle, vector) for vector in vectors)


class Order:
    """The nodes around one spot, nearest first.

    Attributes:
        entries: those that are known to come first, in order.
        unknown: nothing is known of the client, so the network counts for nothing, for all nodes alike.
    """

    def __init__(self, pool: Pool, spot: ClientSpot, network: Network | None, now_s: float) -> None:
        self.epoch = 0 if network is None else network.epoch
        self.made_at_s = now_s
        self.entries: list[Near] = []
        self._spot = spot
        self._network = network
        self.unknown = spot.place is None and not (
            spot.prefix or spot.region or spot.as_number or spot.client
        )
        self._found: list[Near] = []  # opened, past the horizon
        placed, placeless = _grid(pool)
        if spot.place is None:
            self._cells: list[tuple[float, int, _Cell]] = []
            placeless = list(pool.seats.values())
        else:
            here = _vector(spot.place)
            self._cells = sorted(
                (
                    max(0.0, _arc_km(here, cell.middle) - cell.radius_km) * _LIGHT_MS_PER_KM,
                    number,
                    cell,
                )
                for number, cell in enumerate(placed)
            )
            self._cells.reverse()
        self._open(placeless)
        self._settle()

    @property
    def horizon_s(self) -> float:
        """Whoever is not in `entries` is at least so far."""
        return _ROUND_TRIPS_PLAIN * self._cells[-1][0] / 1000 if self._cells else math.inf

    def fresh(self, network: Network | None, now_s: float) -> bool:
        """Whether the estimates in it still hold."""
        age_s = now_s - self.made_at_s
        return age_s < _KEEP_S and (network is None or network.epoch == self.epoch or age_s < _RENEW_S)

    def extend(self) -> bool:
        """Find some more nodes; False when all are known."""
        known_count = len(self.entries)
        while self._cells and len(self.entries) == known_count:
            self._open(self._cells.pop()[2].seats)
            self._settle()
        return len(self.entries) > known_count

    def _open(self, seats: list[Seat]) -> None:
        self._found.extend(map(self.near, seats))

    def _settle(self) -> None:
        """Take over what no closed cell can come before."""
        horizon_s = self.horizon_s
        self._found.sort()
        count = len(self._found)
        while count and self._found[count - 1].network_s > horizon_s:
            count -= 1
        self.entries.extend(self._found[:count])
        del self._found[:count]

    def near(self, seat: Seat) -> Near:
        """One node as seen from the spot."""
        report, spot = seat.member.report, self._spot
        place = report.place
        apart_km = None if spot.place is None or place is None else distance_km(spot.place, place)
        source: RttSource
        if self.unknown:
            rtt_ms, source = 0.0, "none"
        elif self._network is not None:
            rtt_ms, source = self._estimate(self._network, seat)
        else:
            rtt_ms = estimated_rtt_ms(MEAN_DISTANCE_KM if apart_km is None else apart_km)
            source = "none" if apart_km is None else "place"
        if apart_km is not None:
            rtt_ms = max(rtt_ms, apart_km * _LIGHT_MS_PER_KM)
        round_trips = _ROUND_TRIPS_TLS if report.url.startswith("https:") else _ROUND_TRIPS_PLAIN
        return Near(round_trips * rtt_ms / 1000, seat.node_id, seat, rtt_ms, source, apart_km)

    def _estimate(self, network: Network, seat: Seat) -> tuple[float, RttSource]:
        estimate = network.estimate(self._spot, seat.node_id, seat.member.report.place, self.made_at_s)
        return estimate.rtt_ms, estimate.source


def order_of(pool: Pool, spot: ClientSpot, network: Network | None, now_s: float) -> Order:
    """The order of a pool around a spot, kept while it holds."""
    order: Order | None = pool.kept.get(spot)
    if order is not None and order.fresh(network, now_s):
        return order
    order = Order(pool, spot, network, now_s)
    pool.kept.pop(spot, None)
    pool.kept[spot] = order
    # The oldest go first; each new one makes room for itself, so two go where too many are kept.
    limit_count = max(16, min(_SPOTS_LIMIT_COUNT, _ENTRIES_LIMIT_COUNT // max(1, len(pool.seats))))
    if len(pool.kept) > limit_count:
        for key in [key for key in list(pool.kept)[:3] if key not in {_GRID, spot}][:2]:
            del pool.kept[key]
    return order


def _grid(pool: Pool) -> tuple[list[_Cell], list[Seat]]:
    """The cells of a pool, and the nodes that do not say where they are."""
    grid: tuple[list[_Cell], list[Seat]] | None = pool.kept.get(_GRID)
    if grid is None:
        placeless: list[Seat] = []
        cells: dict[tuple[int, int], list[tuple[Place, Seat]]] = {}
        for seat in pool.seats.values():
            place = seat.member.report.place
            if place is None:
                placeless.append(seat)
            else:
                key = (int(place.lat // _CELL_DEGREES), int(place.lon // _CELL_DEGREES))
                cells.setdefault(key, []).append((place, seat))
        grid = pool.kept[_GRID] = [_Cell(seats) for seats in cells.values()], placeless
    return grid


def _vector(place: Place) -> tuple[float, ...]:
    lat, lon = math.radians(place.lat), math.radians(place.lon)
    return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)


def _arc_km(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    # By the chord, which is exact for near points where the arc cosine is not.
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.dist(a, b) / 2))
