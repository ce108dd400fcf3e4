"""Ways to choose a node, for the simulated world: ours with the real parts, and those that others go by.

All of them see the same heartbeats. All but `geo-nearest` know the true round trips.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from edge_node.client.ejection import Ejections
from edge_node.client.nearest import Nearest
from origin.api import RouteAnswer
from origin.errors import NoNodeAvailableError
from origin.geo.choose import Ask, choose, parse_model
from origin.geo.client_spot import ClientSpot
from origin.geo.distance import distance_km
from origin.geo.node_index import NodeIndex
from origin.geo.wide import CODES, Estimates
from origin.prefixes import kept_bytes, unpack_sketch
from origin.tickets import split_way, stops_of

HANDS_ON = {"ours", "ours-by-lists"}


class Course(NamedTuple):
    """Where a request goes: the stop `here`, and what its ticket says.

    Attributes:
        sdk: what its client knows of nodes, if it goes by lists.
    """

    stops: tuple
    here: int = 0
    passed_by: frozenset[int] = frozenset()
    sdk: Nearest | None = None


def _to(node_id):
    return Course((SimpleNamespace(node_id=node_id),))


class TrueNetwork:
    """Round trips as they are, in the shape of `origin.geo.network.Network`."""

    epoch = 0

    def __init__(self, world, nodes):
        self.nodes = NodeIndex()
        self._rtt_ms = world.rtt_ms
        self._cities = {node.node_id: node.city for node in nodes}

    def estimates(self, spot, numbers, now_s):
        row = self._rtt_ms[int(spot.prefix)]
        rtts_ms = np.array([row[self._cities[self.nodes.ids[number]]] for number in numbers])
        return Estimates(
            rtts_ms, np.full(len(rtts_ms), CODES["prefix"], np.int8), np.full(len(rtts_ms), np.nan)
        )


class Router:
    """One replica: what it has heard, and what it has sent itself."""

    def __init__(self, fleet, world, nodes, rng):
        self.fleet, self.world, self.rng = fleet, world, rng
        self.network = TrueNetwork(world, nodes)
        self.by_id = {node.node_id: node for node in nodes}
        self.heard = {}
        self.spots = {}
        self.sdks = {}

    def hear(self, report, now_s):
        self.fleet.accept(report, now_s)
        self.heard[report.node_id] = (report, now_s, {m.name: m for m in report.models})

    def known(self, model, now_s):
        """What the last heartbeats say of nodes that have the model ready, or else asleep."""
        lively = [
            (node_id, models[model]) for node_id, (_, seen_s, models) in self.heard.items()
            if now_s - seen_s <= self.fleet.rules.down_after_s
        ]  # fmt: skip
        return [it for it in lively if it[1].state == "ready"] or lively

    def rtt_ms(self, client, node_id):
        return self.world.rtt_ms[client][self.by_id[node_id].city]

    def spot(self, client):
        found = self.spots.get(client)
        if found is None:
            place = self.world.cities[client].place
            found = self.spots[client] = ClientSpot(prefix=str(client), place=place, place_source="mmdb")
        return found


def _decided(router, ask, now_s):
    decision = choose(router.fleet.view(now_s), ask, None, network=router.network, chance=router.rng.random())
    best = decision.nodes[0]
    release = (ask.reference.name, best.version)
    router.fleet.note_routed(best.node_id, release, now_s, travel_s=best.rtt_ms / 1000)
    return decision.nodes


def ours(router, request, now_s, tried):
    """As the redirect does: the prompt is known, and each request is decided by itself."""
    reference, bare = parse_model(request.model)
    ask = Ask(
        reference, any_channel=bare, spot=router.spot(request.client), prompt_tokens=request.prompt_tokens,
        prompt_bytes=request.prompt_bytes, marks=request.marks, session=request.session, exclude=tried,
    )  # fmt: skip
    try:
        return Course(stops_of(_decided(router, ask, now_s)))
    except NoNodeAvailableError:
        return None


def ours_by_lists(router, request, now_s, tried):
    """As the SDK does: all that a place asks goes by one list for a while, which knows of no prompt."""
    sdk = router.sdks.setdefault(request.client, Nearest(Ejections(router.rng.random)))
    model = request.model
    if sdk.lists.freshness(model, now_s) != "fresh" or tried:
        reference, bare = parse_model(model)
        spot = router.spot(request.client)
        ask = Ask(reference, any_channel=bare, spot=spot, session=str(request.client), exclude=tried)
        try:
            nodes = _decided(router, ask, now_s)
        except NoNodeAvailableError:
            return None
        answer = RouteAnswer(
            model=model, nodes=nodes, ttl_s=60.0, place=spot.place, place_source="mmdb", ticket="-"
        )
        sdk.learn(model, answer, now_s)
    first = sdk.next_node(model, now_s, tried)
    if first is None:
        return None
    nodes = sdk.lists.nodes(model)
    passed_by = split_way(sdk.ticket(model, first, now_s))[1].passed_by
    return Course(stops_of(nodes), nodes.index(first), passed_by, sdk)


def _plain(key):
    def policy(router, request, now_s, tried):
        found = [it for it in router.known(request.model, now_s) if it[0] not in tried]
        if not found:
            return None
        node_id = min(found, key=lambda it: (key(router, request, *it), router.rng.random()))[0]
        return _to(node_id)

    return policy


def _load(report):
    return (report.busy + report.queued) / report.slots


def power_of_two(router, request, now_s, tried):
    """Two nodes by chance, the less busy of them (M. Mitzenmacher, 2001)."""
    found = [it for it in router.known(request.model, now_s) if it[0] not in tried]
    if not found:
        return None
    pair = router.rng.sample(found, min(2, len(found)))
    return _to(min(pair, key=lambda it: _load(it[1]))[0])


def power_of_two_near(router, request, now_s, tried):
    """The same among the four nearest."""
    found = [it for it in router.known(request.model, now_s) if it[0] not in tried]
    found.sort(key=lambda it: router.rtt_ms(request.client, it[0]))
    if not found:
        return None
    pair = router.rng.sample(found[:4], min(2, len(found)))
    return _to(min(pair, key=lambda it: _load(it[1]))[0])


def weighted_sum(router, request, now_s, tried):
    """Scores from 0 to 1, times weights: prefix 3, queue 2, distance 2, residency 1, as schedulers of clusters do."""
    found = [
        (node_id, models[request.model]) for node_id, (_, seen_s, models) in router.heard.items()
        if now_s - seen_s <= router.fleet.rules.down_after_s and node_id not in tried
    ]  # fmt: skip
    if not found:
        return None
    rtts_ms = [router.rtt_ms(request.client, node_id) for node_id, _ in found]
    loads = [_load(model) for _, model in found]

    def score(number):
        model = found[number][1]
        prefix = kept_bytes(request.marks, unpack_sketch(model.prefixes)) / request.prompt_bytes
        queue = 1 - (loads[number] - min(loads)) / ((max(loads) - min(loads)) or 1)
        near = 1 - (rtts_ms[number] - min(rtts_ms)) / ((max(rtts_ms) - min(rtts_ms)) or 1)
        return 3 * prefix + 2 * queue + 2 * near + (model.state == "ready")

    best = max(range(len(found)), key=lambda number: (score(number), router.rng.random()))
    return _to(found[best][0])


POLICIES = {
    "ours": ours,
    "ours-without-handing-on": ours,
    "ours-by-lists": ours_by_lists,
    "geo-nearest": _plain(
        lambda router, request, node_id, _: distance_km(
            router.world.cities[request.client].place, router.by_id[node_id].place
        )
    ),
    "rtt-nearest": _plain(lambda router, request, node_id, _: router.rtt_ms(request.client, node_id)),
    "least-loaded": _plain(lambda router, request, node_id, report: _load(report)),
    "power-of-two": power_of_two,
    "power-of-two-near": power_of_two_near,
    "weighted-sum": weighted_sum,
}
