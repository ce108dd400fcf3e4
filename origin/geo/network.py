"""Network: how many milliseconds lie between clients and nodes, as far as anybody has measured.

From the best knowledge to the least: the client's own probes, what its network (a /24, a /48) has seen, its AS in the
same cell of the map, the cell, what `RttSurface` guesses from cells around. Each is blended with the next by how many
voices stand behind it: n/(n + 1), so that one counts half. A node that a client has not measured, where it has measured
others, is guessed with what those were off by: the last mile is in all of them.

Nobody can move what others get alone: what kernels of nodes have seen counts before what clients claim, and of claims
the median over at least 3 clients of a network, over at least 3 networks of an AS, a cell, a country; and what beats
light in vacuum does not count for a place.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np

from origin.geo.distance import MEAN_DISTANCE_KM, distance_km, estimated_rtt_ms, least_rtt_ms
from origin.geo.heard import Heard, HeardRules
from origin.geo.probing import probes
from origin.geo.rolling import Agreed
from origin.geo.rtt_surface import RttSurface, fitted
from origin.geo.rtt_table import RttTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from origin.api import Place, PlaceSource
    from origin.geo.client_spot import ClientSpot
    from origin.geo.heard import Sample, Scope

RttSource = Literal["probe", "prefix", "as", "region", "place", "none"]
"""What an estimate rests on: the client's own probes; its network's; its AS's nearby; its country's; places and what is
learned between places; or nothing."""

NodeAt = tuple[str, "Place | None"]
"""A node's id and its place."""

_SOURCES: dict[str, RttSource] = {"cell": "place", "as": "as", "region": "region"}
_CELLS_PER_DEGREE = 2
_PROBED_AMONG_COUNT = 48
_NEAR_ENOUGH_MS = 10.0
"""A client so near a node is within 1,000 km of it by fibre, and most are far nearer."""
_NOTICED_MS = 5.0
_NOTICED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """How long measurements count, and how much is kept.

    Attributes:
        probe_hold_s: so long a client's own probe counts alone: two lists of nodes, which are renewed every minute.
        probe_half_life_s: so much later it counts half, against what others say.
        heard: what is remembered of each kind of scope.
        epoch_least_s: the epoch grows at most this often.
        guesses_limit_count: for how many places guesses are kept ready.
    """

    probe_hold_s: float = 120.0
    probe_half_life_s: float = 300.0
    heard: HeardRules = field(default_factory=HeardRules)
    epoch_least_s: float = 1.0
    guesses_limit_count: int = 4096


@dataclass(frozen=True, slots=True)
class RttEstimate:
    """The round trip that is expected; `source` is the best knowledge that went in."""

    rtt_ms: float
    source: RttSource


class Network:
    """The round trips that have been reported, and what they say of those that have not.

    Attributes:
        epoch: grows whenever estimates may have changed noticeably.
    """

    def __init__(self, rules: NetworkRules | None = None) -> None:
        self.rules = rules if rules is not None else NetworkRules()
        self.epoch = 0
        self._heard = Heard(self.rules.heard)
        self._table = RttTable()
        self._surface = fitted(self._table)
        self._table_changed = False
        self._changed = False
        self._epoch_at_s = float("-inf")
        self._guesses: OrderedDict[Place, dict[str, float]] = OrderedDict()
        self._offsets: dict[ClientSpot, tuple[float, bool]] = {}
        self._misses: dict[str, NDArray[np.float64]] = {}
        self._left_over: NDArray[np.float64] = np.zeros(0)

    def learn(self, spot: ClientSpot, samples: Sequence[Sample], now_s: float) -> None:
        """Take in what was measured between nodes and a client, or a network of clients."""
        for sample in samples:
            if sample.reporter:
                self._notice(self._heard.say(("client", sample.reporter), sample, sample.reporter, now_s))
            if spot.prefix:
                scope = ("prefix", spot.prefix)
                self._notice(self._heard.say(scope, sample, sample.reporter, now_s))
                agreed = self._heard.of(scope, sample.node_id, now_s)
                # One client's claim is too little for its network, but a voice among others of its place.
                said = Agreed(sample.rtt_ms, 1, sample.at_s, False) if agreed is None else agreed
                self._learn_widely(spot, sample, said, now_s)
        self._settle(now_s)

    def estimate(self, spot: ClientSpot, node_id: str, node_place: Place | None, now_s: float) -> RttEstimate:
        """The round trip between a client and a node."""
        self._settle(now_s)
        rtt_ms, source = self._wide(spot, node_id, node_place, now_s)
        if not spot.prefix and not spot.client:
            return RttEstimate(rtt_ms, source)
        offset_ms, probed = self._offset(spot, now_s)
        network = self._heard.of(("prefix", spot.prefix), node_id, now_s) if spot.prefix else None
        own = self._heard.of(("client", spot.client), node_id, now_s) if spot.client else None
        rtt_ms = max(0.1, rtt_ms + offset_ms)
        if own is None and network is None and probed:
            # What is measured is certain; a guess that looks better is more often than not guessed too low.
            rtt_ms += self._surface.miss_ms
        if network is not None:
            rtt_ms, source = _blended(network, rtt_ms), "prefix"
        if own is not None:
            aged_s = max(0.0, now_s - own.seen_s - self.rules.probe_hold_s)
            share = 0.5 ** (aged_s / self.rules.probe_half_life_s)
            rtt_ms, source = share * own.rtt_ms + (1 - share) * rtt_ms, "probe"
        return RttEstimate(rtt_ms, source)

    def probes(
        self, spot: ClientSpot, nodes: Sequence[NodeAt], now_s: float, *, limit_count: int = 4
    ) -> tuple[str, ...]:
        """The nodes that this client should measure, the most useful first; not those it has measured just now."""
        found = [(self._wide(spot, *node, now_s)[0], *node) for node in nodes]
        fresh = dict(self._own(spot, now_s))
        found.sort(key=lambda node: (node[1] not in fresh, node[0], node[1]))
        found = found[:_PROBED_AMONG_COUNT]
        if not found:
            return ()
        ids = [node_id for _, node_id, _ in found]
        missing = [node_id for node_id in ids if node_id not in self._misses]
        if missing:
            columns, self._left_over = self._surface.misses(missing)
            self._misses.update(zip(missing, columns.T, strict=True))
        picked = probes(
            np.array([rtt_ms for rtt_ms, _, _ in found]),
            np.column_stack([self._misses[node_id] for node_id in ids]),
            self._left_over,
            {index: fresh[node_id] for index, node_id in enumerate(ids) if node_id in fresh},
            limit_count,
        )
        return tuple(ids[index] for index in picked)

    def has_probes(self, address: str) -> bool:
        """Whether a client has reported probes of its own."""
        return self._heard.knows(("client", address))

    def has_measured(self, prefix: str) -> bool:
        """Whether anybody has measured round trips to clients of this very network."""
        return bool(prefix) and self._heard.knows(("prefix", prefix))

    def place_of(self, prefix: str, listed: Place | None, now_s: float) -> tuple[Place | None, PlaceSource]:
        """Where a network is: as a database has it, unless the round trips that nodes have seen rule that out.

        Then, and where no database knows it, at the node with the least round trip, if that is near enough to tell
        (the "shortest ping" of E. Katz-Bassett et al., "Towards IP Geolocation Using Delay and Topology
        Measurements", IMC 2006). A database's place is finer than a node's, so it counts as long as it can be true.
        """
        seen = self._heard.all_of(("prefix", prefix), now_s) if prefix else []
        placed = [(said.rtt_ms, at) for _, at, said in seen if at is not None and said.sure]
        if listed is not None and not any(
            rtt_ms < least_rtt_ms(distance_km(listed, at)) for rtt_ms, at in placed
        ):
            return listed, "mmdb"
        rtt_ms, nearest = min(placed, key=lambda pair: pair[0], default=(math.inf, None))
        if nearest is not None and rtt_ms <= _NEAR_ENOUGH_MS:
            return nearest, "learned"
        return None, "none"

    @property
    def fit_due(self) -> bool:
        """Whether something was measured between places since the last fit was begun."""
        return self._table_changed

    def table(self) -> RttTable:
        """What is measured between places and nodes, to fit a surface to, which may be done aside."""
        self._table_changed = False
        return self._table.copied()

    def install(self, surface: RttSurface) -> None:
        """Guess by this surface from now on."""
        self._surface = surface
        self._guesses.clear()
        self._misses.clear()
        self._changed = True

    def _learn_widely(self, spot: ClientSpot, sample: Sample, agreed: Agreed, now_s: float) -> None:
        """Let this network's word count as one voice for its AS, its cell, its country."""
        place, node_place = spot.place, sample.node_place
        apart_km = distance_km(place, node_place) if place is not None and node_place is not None else 0.0
        if agreed.rtt_ms < least_rtt_ms(apart_km):
            return  # it is not where it is taken to be, or someone lies: nothing that speaks for the place
        for scope in _wide_scopes(spot):
            self._notice(
                self._heard.say(
                    scope, sample, spot.prefix, now_s, claim=not agreed.sure, rtt_ms=agreed.rtt_ms
                )
            )
        if place is not None and node_place is not None:
            said = self._heard.of(("cell", _cell(place)), sample.node_id, now_s)
            if said is not None:
                changed = self._table.put(_cell(place), place, sample.node_id, node_place, said.rtt_ms)
                self._table_changed = self._table_changed or changed

    def _wide(
        self, spot: ClientSpot, node_id: str, node_place: Place | None, now_s: float
    ) -> tuple[float, RttSource]:
        """The estimate from what other networks have measured."""
        source: RttSource
        if spot.place is not None and node_place is not None:
            rtt_ms, source = self._guess(spot.place, node_id, node_place), "place"
        else:
            rtt_ms, source = estimated_rtt_ms(MEAN_DISTANCE_KM, self._surface.line), "none"
        for scope in reversed(_wide_scopes(spot)):
            said = self._heard.of(scope, node_id, now_s)
            if said is not None:
                rtt_ms = _blended(said, rtt_ms)
                source = _SOURCES[scope[0]]
        return rtt_ms, source

    def _guess(self, place: Place, node_id: str, node_place: Place) -> float:
        guesses = self._guesses.get(place)
        if guesses is None:
            if len(self._guesses) >= self.rules.guesses_limit_count:
                self._guesses.popitem(last=False)
            guesses = self._guesses[place] = self._surface.guess(place)
        guess = guesses.get(node_id)
        return (
            estimated_rtt_ms(distance_km(place, node_place), self._surface.line) if guess is None else guess
        )

    def _own(self, spot: ClientSpot, now_s: float) -> list[tuple[str, float]]:
        """What this client has measured within the half life of a probe."""
        if not spot.client:
            return []
        oldest_s = now_s - self.rules.probe_half_life_s
        return [
            (node_id, own.rtt_ms)
            for node_id, _, own in self._heard.all_of(("client", spot.client), now_s)
            if own.seen_s >= oldest_s
        ]

    def _offset(self, spot: ClientSpot, now_s: float) -> tuple[float, bool]:
        """By how much guesses are too low for this client, and whether it or its network has measured anything."""
        known = self._offsets.get(spot)
        if known is None:
            heard = self._heard.all_of(("client", spot.client), now_s) if spot.client else []
            if not heard and spot.prefix:
                heard = self._heard.all_of(("prefix", spot.prefix), now_s)
            off_ms = [said.rtt_ms - self._wide(spot, i, at, now_s)[0] for i, at, said in heard]
            known = (median(off_ms) * len(off_ms) / (len(off_ms) + 1) if off_ms else 0.0, bool(off_ms))
            if len(self._offsets) >= self.rules.guesses_limit_count:
                self._offsets.clear()
            self._offsets[spot] = known
        return known

    def _notice(self, change_ms: tuple[float | None, float]) -> None:
        before_ms, after_ms = change_ms
        if before_ms is None or abs(after_ms - before_ms) > max(_NOTICED_MS, _NOTICED_SHARE * before_ms):
            self._changed = True

    def _settle(self, now_s: float) -> None:
        if self._changed and now_s - self._epoch_at_s >= self.rules.epoch_least_s:
            self.epoch += 1
            self._epoch_at_s = now_s
            self._changed = False
            self._offsets.clear()


def _blended(said: Agreed, otherwise_ms: float) -> float:
    """What is said, the more the more voices say it."""
    return (said.rtt_ms * said.count + otherwise_ms) / (said.count + 1)


def _cell(place: Place) -> str:
    return f"{int(place.lat * _CELLS_PER_DEGREE // 1)},{int(place.lon * _CELLS_PER_DEGREE // 1)}"


def _wide_scopes(spot: ClientSpot) -> list[Scope]:
    """The narrowest first; a country counts only where there is no place."""
    cell = _cell(spot.place) if spot.place is not None else ""
    where = cell or spot.region
    scopes: list[Scope] = []
    if spot.as_number is not None and where:
        scopes.append(("as", f"{spot.as_number} {where}"))
    if cell:
        scopes.append(("cell", cell))
    elif spot.region:
        scopes.append(("region", spot.region))
    return scopes
