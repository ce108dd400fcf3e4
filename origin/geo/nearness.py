"""Nearness: the nodes of a pool in the order of their round trips to one client's spot, found as far as it is asked.

The cells of a large pool (`origin.geo.layout`) are opened in the order of the least round trips they can have, and
only when somebody asks for nodes past those that are known to come first. So a client in a large fleet costs as much
as the nodes around it, and what was found is kept for all clients of the spot until the pool changes or the network's
estimates do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from origin.geo.distance import least_rtt_ms
from origin.geo.layout import ROUND_TRIPS_PLAIN, Layout
from origin.geo.network import Network
from origin.geo.wide import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from origin.geo.client_spot import ClientSpot
    from origin.geo.wide import RttSource
    from origin.pool import Pool

    Rows = NDArray[np.intp]

_RENEW_S = 10.0
_RENEW_OWN_S = 1.0
"""The network learns all the time: an order is made anew for it at most so often, for one that probes by itself…"""
_RENEW_SPREAD = 0.3
"""…sooner or later by such a share, by the spot: after a start orders are made at once, and would be ever after…"""
_KEEP_S = 60.0
"""…and after so long in any case, since measurements grow old."""
_SPOTS_LIMIT_COUNT = 4096
_ROWS_LIMIT_COUNT = 2_000_000
_LAYOUT = "layout"
_UNMEASURED = "unmeasured"
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


class _Seen(NamedTuple):
    """Rows of a pool as seen from a spot: the columns of `Near`."""

    network_s: NDArray[np.float64]
    rtts_ms: NDArray[np.float64]
    codes: NDArray[np.int8]
    apart_km: NDArray[np.float64]
    rows: Rows

    def near(self, position: int) -> Near:
        apart_km = self.apart_km.item(position)
        return Near(
            self.network_s.item(position),
            self.rtts_ms.item(position),
            SOURCES[self.codes.item(position)],
            None if math.isnan(apart_km) else apart_km,
        )

    def at(self, positions: Rows | slice) -> _Seen:
        return _Seen(
            self.network_s[positions],
            self.rtts_ms[positions],
            self.codes[positions],
            self.apart_km[positions],
            self.rows[positions],
        )

    def and_then(self, more: _Seen) -> _Seen:
        join = np.concatenate
        return _Seen(
            join([self.network_s, more.network_s]),
            join([self.rtts_ms, more.rtts_ms]),
            join([self.codes, more.codes]),
            join([self.apart_km, more.apart_km]),
            join([self.rows, more.rows]),
        )


class Order:
    """The nodes around one spot, nearest first.

    Attributes:
        unknown: nothing is known of the client, so the network counts for nothing, for all nodes alike.
    """

    def __init__(self, pool: Pool, spot: ClientSpot, network: Network | None, now_s: float) -> None:
        self.epoch = 0 if network is None else network.epoch
        self.made_at_s = now_s
        self.unknown = spot.place is None and not (
            spot.prefix or spot.region or spot.as_number or spot.client
        )
        self._spot = spot
        self._renew_s = _RENEW_OWN_S if spot.client else _RENEW_S * (1 + _RENEW_SPREAD * _off(spot))
        self._layout: Layout = _kept(pool, _LAYOUT, lambda: Layout(pool))
        self._network: Network = _kept(pool, _UNMEASURED, Network) if network is None else network
        self._nears: dict[int, Near] = {}
        self._cells: list[tuple[float, Rows]] = []
        rows = self._layout.open_rows
        if spot.place is None:
            rows = np.arange(len(pool.rows))
        else:
            self._cells = self._layout.cells_around(spot.place)
        self._known = self._beyond = self._seen(
            rows[:0]
        )  # past the horizon, though opened, is what is beyond
        self._settle(self._seen(rows))

    @property
    def network_s(self) -> NDArray[np.float64]:
        """Of the nodes that are known to come first, in order; whoever is not among them is further away."""
        return self._known.network_s

    @property
    def rtt_ms(self) -> NDArray[np.float64]:
        """Theirs."""
        return self._known.rtts_ms

    @property
    def rows(self) -> Rows:
        """Which rows of the pool they are."""
        return self._known.rows

    @property
    def horizon_s(self) -> float:
        """Whoever is not among the known nodes is at least so far."""
        return ROUND_TRIPS_PLAIN * self._cells[-1][0] / 1000 if self._cells else math.inf

    def fresh(self, network: Network | None, now_s: float) -> bool:
        """Whether the estimates in it still hold."""
        age_s = now_s - self.made_at_s
        if network is None or network.epoch == self.epoch:
            return age_s < _KEEP_S
        return age_s < self._renew_s

    def extend(self) -> bool:
        """Find some more nodes, about as many as are known; False when all are."""
        if not self._cells:
            return False
        wanted_count = max(_STEP_COUNT, len(self.rows))
        opened: list[Rows] = []
        while self._cells and wanted_count > 0:
            opened.append(self._cells.pop()[1])
            wanted_count -= len(opened[-1])
        self._settle(self._seen(np.concatenate(opened)))
        return True

    def near_at(self, position: int) -> Near:
        """The node at this position of the order."""
        near = self._nears.get(position)
        if near is None:
            near = self._nears[position] = self._known.near(position)
        return near

    def look(self, rows: list[int]) -> list[Near]:
        """Any nodes as seen from the spot; `near_at` knows those of the order."""
        seen = self._seen(np.array(rows, dtype=np.intp))
        return [seen.near(position) for position in range(len(rows))]

    def _settle(self, opened: _Seen) -> None:
        """Take over what no closed cell can come before."""
        found = self._beyond.and_then(opened) if len(self._beyond.rows) else opened
        found = found.at(np.argsort(found.network_s, kind="stable"))
        count = int(found.network_s.searchsorted(self.horizon_s, side="right"))
        self._known = (
            self._known.and_then(found.at(slice(count))) if len(self._known.rows) else found.at(slice(count))
        )
        self._beyond = found.at(slice(count, None))

    def _seen(self, rows: Rows) -> _Seen:
        """What is known now of these rows."""
        layout = self._layout
        if self.unknown:
            nothing = np.zeros(len(rows))
            return _Seen(nothing, nothing, nothing.astype(np.int8), nothing + math.nan, rows)
        numbers = layout.numbers(self._network)[rows]
        rtts_ms, codes, apart_km = self._network.estimates(self._spot, numbers, self.made_at_s)
        rtts_ms = np.fmax(rtts_ms, least_rtt_ms(apart_km))  # of the two the one that is a number
        return _Seen(layout.round_trips[rows] * rtts_ms / 1000, rtts_ms, codes, apart_km, rows)


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
        for key in [key for key in list(pool.kept)[:4] if key not in {_LAYOUT, _UNMEASURED, spot}][:2]:
            del pool.kept[key]
    return order


def _off(spot: ClientSpot) -> float:
    """A number from -1 to 1, always the same for a spot."""
    return crc32(repr(spot).encode()) / 2**31 - 1


def _kept(pool: Pool, key: str, make: Callable[[], Any]) -> Any:
    found = pool.kept.get(key)
    if found is None:
        found = pool.kept[key] = make()
    return found
