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
from typing import TYPE_CHECKING

import numpy as np

from origin.geo.distance import MEAN_DISTANCE_KM, distance_km, estimated_rtt_ms, least_rtt_ms
from origin.geo.heard import Heard, HeardRules
from origin.geo.node_index import NodeIndex
from origin.geo.probing import probes
from origin.geo.rolling import Agreed
from origin.geo.rtt_surface import RttSurface, fitted, on_line
from origin.geo.rtt_table import RttTable
from origin.geo.sphere import apart_km, on_sphere
from origin.geo.wide import CODES, SOURCES, Estimates, Wide, WideKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from origin.api import Place, PlaceSource
    from origin.geo.client_spot import ClientSpot
    from origin.geo.heard import Sample, Scope
    from origin.geo.node_index import NodeAt
    from origin.geo.wide import RttSource

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

_SCOPE_CODES = {"cell": CODES["place"], "as": CODES["as"], "region": CODES["region"]}
_CELLS_PER_DEGREE = 2
_PROBED_AMONG_COUNT = 48
_NEAR_ENOUGH_MS = 10.0
"""A client so near a node is within 1,000 km of it by fibre, and most are far nearer."""
_NOTICED_MS = 5.0
_NOTICED_SHARE = 0.1
_WIDE_KEEP_S = 5.0
"""So long what a place shares is kept although the network has learned; while it has not, for a minute."""
_WIDE_KEEP_UNCHANGED_S = 60.0
_WIDE_LIMIT_COUNT = 4096
_WIDE_NODES_LIMIT_COUNT = 2_000_000
_NODES_LIMIT_COUNT = 100_000


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
        nodes: the numbers by which `estimates` knows nodes; they hold from one `learn` to the next.
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
        self.nodes = NodeIndex()
        self._wides: OrderedDict[WideKey, Wide] = OrderedDict()
        self._columns: Numbers = np.zeros(0, dtype=np.int64)
        self._guesses: OrderedDict[Place, Floats] = OrderedDict()

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
        if len(self.nodes) > _NODES_LIMIT_COUNT:  # years of nodes that came and went, or moved
            self.nodes.begin_anew()
            self._wides.clear()
            self._columns = self._columns[:0]
        self._settle(now_s)

    def estimate(self, spot: ClientSpot, node_id: str, node_place: Place | None, now_s: float) -> RttEstimate:
        """The round trip between a client and one node, by all that is known at this moment."""
        self._settle(now_s)
        numbers = self.nodes.numbers([(node_id, node_place)])
        found = self._estimated(spot, Wide(self.epoch, now_s, len(self.nodes)), numbers, now_s)
        return RttEstimate(found.rtts_ms.item(0), SOURCES[found.codes.item(0)])

    def estimates(self, spot: ClientSpot, numbers: Numbers, now_s: float) -> Estimates:
        """The round trips between a client and the nodes of these numbers, by what was known some seconds ago.

        A client's and its network's own measurements are those of now.
        """
        self._settle(now_s)
        return self._estimated(spot, self._wide(spot, now_s), numbers, now_s)

    def probes(
        self, spot: ClientSpot, nodes: Sequence[NodeAt], now_s: float, *, limit_count: int = 4
    ) -> tuple[str, ...]:
        """The nodes that this client should measure, the most useful first; not those it has measured just now."""
        if not nodes:
            return ()
        numbers = self.nodes.numbers(nodes)
        wide = self._wide(spot, now_s)
        self._work_out(wide, spot, numbers, now_s)
        fresh = dict(self._own(spot, now_s))
        found = sorted(
            zip(wide.rtts_ms[numbers].tolist(), [node_id for node_id, _ in nodes], strict=True),
            key=lambda node: (node[1] not in fresh, *node),
        )[:_PROBED_AMONG_COUNT]
        ids = [node_id for _, node_id in found]
        picked = probes(
            np.array([rtt_ms for rtt_ms, _ in found]),
            self._surface.misses(ids),
            self._surface.left_over_ms,
            {index: fresh[node_id] for index, node_id in enumerate(ids) if node_id in fresh},
            limit_count,
            self._surface.counts(spot.place) if spot.place is not None else None,
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
        self._columns = self._columns[:0]
        self._changed = True

    def _learn_widely(self, spot: ClientSpot, sample: Sample, agreed: Agreed, now_s: float) -> None:
        """Let this network's word count as one voice for its AS, its cell, its country."""
        place, node_place = spot.place, sample.node_place
        apart_km = distance_km(place, node_place) if place is not None and node_place is not None else 0.0
        if agreed.rtt_ms < least_rtt_ms(apart_km):
            return  # it is not where it is taken to be, or someone lies: nothing that speaks for the place
        for scope in _wide_scopes(_wide_key(spot)):
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

    def _wide(self, spot: ClientSpot, now_s: float) -> Wide:
        """What clients of this place share, kept for some seconds."""
        key = _wide_key(spot)
        wide = self._wides.get(key)
        if wide is not None:
            age_s = now_s - wide.made_at_s
            if age_s < _WIDE_KEEP_S or (wide.epoch == self.epoch and age_s < _WIDE_KEEP_UNCHANGED_S):
                return wide
            del self._wides[key]
        limit_count = max(16, min(_WIDE_LIMIT_COUNT, _WIDE_NODES_LIMIT_COUNT // max(1, len(self.nodes))))
        while len(self._wides) >= limit_count:
            self._wides.popitem(last=False)
        wide = self._wides[key] = Wide(self.epoch, now_s, len(self.nodes))
        return wide

    def _work_out(self, wide: Wide, spot: ClientSpot, numbers: Numbers, now_s: float) -> None:
        """Have the estimates for these nodes from what other networks have measured."""
        numbers = wide.missing(numbers, len(self.nodes))
        if not len(numbers):
            return
        rtts_ms = np.full(len(numbers), estimated_rtt_ms(MEAN_DISTANCE_KM, self._surface.line))
        if spot.place is not None:
            far_km = apart_km(self.nodes.points[numbers], on_sphere(spot.place))
            wide.apart_km[numbers] = far_km
            placed = ~np.isnan(far_km)
            rtts_ms[placed] = on_line(self._surface.line, far_km[placed])
            columns = self._column_of()[numbers]
            guessed = placed & (columns >= 0)
            rtts_ms[guessed] = self._guess(spot.place)[columns[guessed]]
            wide.codes[numbers] = placed  # "place" is 1, and "none" 0
        wide.rtts_ms[numbers] = rtts_ms
        wide.known[numbers] = True
        wanted = set(numbers.tolist())
        for scope in reversed(_wide_scopes(_wide_key(spot))):
            code = _SCOPE_CODES[scope[0]]
            for number, said in self._heard_of(scope, now_s):
                if number in wanted:
                    wide.rtts_ms[number] = _blended(said, wide.rtts_ms.item(number))
                    wide.codes[number] = code

    def _estimated(self, spot: ClientSpot, wide: Wide, numbers: Numbers, now_s: float) -> Estimates:
        """What the place shares, with what the client's network and the client itself have measured."""
        network = self._heard_of(("prefix", spot.prefix), now_s) if spot.prefix else []
        own = self._heard_of(("client", spot.client), now_s) if spot.client else []
        heard = own or network
        asked = np.concatenate([numbers, [number for number, _ in heard]]) if heard else numbers
        self._work_out(wide, spot, asked.astype(np.int64), now_s)
        if not heard:
            return Estimates(wide.rtts_ms[numbers], wide.codes[numbers], wide.apart_km[numbers])
        off_ms = [said.rtt_ms - wide.rtts_ms.item(number) for number, said in heard]
        guessed_ms = np.maximum(0.1, wide.rtts_ms + median(off_ms) * len(off_ms) / (len(off_ms) + 1))
        # What is measured is certain; a guess that looks better is more often than not guessed too low.
        rtts_ms, codes = guessed_ms + self._surface.miss_ms, wide.codes.copy()
        for number, said in network:
            if wide.known[number]:
                rtts_ms[number], codes[number] = _blended(said, guessed_ms.item(number)), CODES["prefix"]
        for number, said in own:
            aged_s = max(0.0, now_s - said.seen_s - self.rules.probe_hold_s)
            share = 0.5 ** (aged_s / self.rules.probe_half_life_s)
            others_ms = (rtts_ms if codes[number] == CODES["prefix"] else guessed_ms).item(number)
            rtts_ms[number], codes[number] = share * said.rtt_ms + (1 - share) * others_ms, CODES["probe"]
        return Estimates(rtts_ms[numbers], codes[numbers], wide.apart_km[numbers])

    def _heard_of(self, scope: Scope, now_s: float) -> list[tuple[int, Agreed]]:
        """What is agreed on now, by the nodes' numbers."""
        number = self.nodes.number
        return [(number((node_id, at)), said) for node_id, at, said in self._heard.all_of(scope, now_s)]

    def _column_of(self) -> Numbers:
        """The surface's column of each node by its number; -1 for those that it does not know."""
        if len(self._columns) < len(self.nodes):
            columns = self._surface.columns
            more = [columns.get(node_id, -1) for node_id in self.nodes.ids[len(self._columns) :]]
            self._columns = np.concatenate([self._columns, np.array(more, dtype=np.int64)])
        return self._columns

    def _guess(self, place: Place) -> Floats:
        guesses = self._guesses.get(place)
        if guesses is None:
            if len(self._guesses) >= self.rules.guesses_limit_count:
                self._guesses.popitem(last=False)
            guesses = self._guesses[place] = self._surface.guess(place)
        return guesses

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

    def _notice(self, change_ms: tuple[float | None, float]) -> None:
        before_ms, after_ms = change_ms
        if before_ms is None or abs(after_ms - before_ms) > max(_NOTICED_MS, _NOTICED_SHARE * before_ms):
            self._changed = True

    def _settle(self, now_s: float) -> None:
        if self._changed and now_s - self._epoch_at_s >= self.rules.epoch_least_s:
            self.epoch += 1
            self._epoch_at_s = now_s
            self._changed = False


def _blended(said: Agreed, otherwise_ms: float) -> float:
    """What is said, the more the more voices say it."""
    return (said.rtt_ms * said.count + otherwise_ms) / (said.count + 1)


def _cell(place: Place) -> str:
    return f"{int(place.lat * _CELLS_PER_DEGREE // 1)},{int(place.lon * _CELLS_PER_DEGREE // 1)}"


def _wide_key(spot: ClientSpot) -> WideKey:
    return WideKey(spot.place, spot.as_number, spot.region if spot.place is None else "")


def _wide_scopes(key: WideKey) -> list[Scope]:
    """The narrowest first."""
    cell = _cell(key.place) if key.place is not None else ""
    where = cell or key.region
    scopes: list[Scope] = []
    if key.as_number is not None and where:
        scopes.append(("as", f"{key.as_number} {where}"))
    if cell:
        scopes.append(("cell", cell))
    elif key.region:
        scopes.append(("region", key.region))
    return scopes
