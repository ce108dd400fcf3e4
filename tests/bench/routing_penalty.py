"""How many ms a client loses against the node with the least round trip, on real round trips between cities.

Sites are cities; every other city is a client, and each country counts once. Nothing is learned from the client's own
city, nor from any within 50 km, unless by its own probes. Everything goes through `Network` as an origin uses it:
the other cities' round trips are reported by the nodes' kernels, the surface is fitted, the probes are those that
`Network.probes` names. Policies:

    geo                the nearest site
    geo_probeK         the K nearest are probed, the best of them is used
    learned            the least estimate
    learned_probeK     the K that `Network.probes` names are probed, the best of them is used
    routed_probe4      the same probes, then the least estimate over all sites, as the score sees it
    learned_again      two lists of 4, the second made with what the first has shown: a minute later
    routed_again       the least estimate over all sites then

`random` is the mean over random fleets, where groups of cities are left out together (a tenth of all: less is learned).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from origin.geo.client_spot import ClientSpot
from origin.geo.distance import distance_km
from origin.geo.heard import Sample
from origin.geo.network import Network
from origin.geo.rtt_surface import fitted
from tests.bench.bench_part import Part
from tests.bench.rtt_cities import missing, read_cities

FIRST = [
    "Washington", "Dallas", "SanJose", "SaoPaulo", "London", "Frankfurt",
    "Stockholm", "Johannesburg", "Pune", "Singapore", "Tokyo", "Sydney",
]  # fmt: skip
SECOND = [
    "Seattle", "Chicago", "Atlanta", "Toronto", "Paris", "Madrid",
    "HongKong", "Seoul",
]  # fmt: skip
THIRD = [
    "Miami", "Santiago", "Bogota", "Milan", "Warsaw", "Istanbul",
    "Dubai", "Lagos", "Jakarta", "LosAngeles",
]  # fmt: skip
FLEETS = {12: FIRST, 20: FIRST + SECOND, 30: FIRST + SECOND + THIRD}
MATCH_PERCENT = {12: 99.0, 20: 97.0, 30: 96.0}
MEAN_MS = {12: 0.1, 20: 0.35, 30: 1.5}
PROBES = (2, 3, 4)
_SAME_CITY_KM = 50.0
_RANDOM_COUNT = 34
_FOLDS_COUNT = 10
_SEED = 20
_AGAIN_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What one policy cost one client, in ms over the best site, and how much the client counts."""

    policy: str
    lost_ms: float
    weight: float


def measure(*, quick):
    """The part of `bench_routing.py` that needs no servers."""
    if missing():
        return Part(figures={}, absent={"routing_penalty": missing()})
    cities = read_cities()
    figures, required, runs = {}, {}, []
    for count, names in FLEETS.items():
        if not set(names) <= set(cities.names):
            continue  # another set of cities: random fleets alone
        sites = [cities.names.index(name) for name in names]
        outcomes = outcomes_of(cities, sites, folds_count=_FOLDS_COUNT if quick else None)
        _enter(figures, f"{count}_sites", outcomes)
        runs.append({"sites": count, "clients": len(cities.names) - count})
        required[f"match_percent_learned_probe4_{count}_sites"] = (">=", MATCH_PERCENT[count])
        required[f"mean_ms_learned_probe4_{count}_sites"] = ("<=", MEAN_MS[count])
    chance = random.Random(_SEED)
    for count in FLEETS:
        outcomes = []
        for _ in range(2 if quick else _RANDOM_COUNT):
            sites = chance.sample(range(len(cities.names)), count)
            outcomes.append(outcomes_of(cities, sites, folds_count=_FOLDS_COUNT))
        summaries = [summary(one) for one in outcomes]
        for name in summaries[0]:
            mean = sum(one[name] for one in summaries) / len(summaries)
            figures[f"{name}_random_{count}_sites"] = round(mean, 3)
        runs.append({"random_fleets": len(outcomes), "sites": count})
    return Part(figures=figures, required=required, runs=runs, packages=("numpy",))


def _enter(figures, label, outcomes):
    for name, value in summary(outcomes).items():
        figures[f"{name}_{label}"] = round(value, 3)


def summary(outcomes):
    """Match, mean and p95 of each policy, by weight."""
    found = {}
    for policy in dict.fromkeys(outcome.policy for outcome in outcomes):
        own = sorted((o for o in outcomes if o.policy == policy), key=lambda o: o.lost_ms)
        total = sum(o.weight for o in own)
        found[f"match_percent_{policy}"] = 100 * sum(o.weight for o in own if o.lost_ms < 1e-9) / total
        found[f"mean_ms_{policy}"] = sum(o.weight * o.lost_ms for o in own) / total
        reached = 0.0
        for outcome in own:
            reached += outcome.weight
            if reached >= 0.95 * total:
                found[f"p95_ms_{policy}"] = outcome.lost_ms
                break
    return found


def outcomes_of(cities, sites, *, folds_count):
    """What every policy costs every client; None leaves one city out at a time."""
    clients = [i for i in range(len(cities.names)) if i not in set(sites)]
    order = clients[:]
    random.Random(_SEED).shuffle(order)
    folds = (
        [[i] for i in order] if folds_count is None else [order[n::folds_count] for n in range(folds_count)]
    )
    weights = dict(zip(clients, cities.weights(clients), strict=True))
    outcomes = []
    for fold in folds:
        network = taught(cities, sites, [i for i in clients if _apart(cities, i, fold)])
        for client in fold:
            outcomes += _tried(cities, sites, network, client, weights[client])
    return outcomes


def _apart(cities, other, held_out):
    return all(distance_km(cities.places[other], cities.places[i]) > _SAME_CITY_KM for i in held_out)


def taught(cities, sites, teachers):
    """A network that knows what the kernels of the sites have seen of these cities."""
    network = Network()
    for city in teachers:
        spot = ClientSpot(prefix=f"198.{18 + city // 256}.{city % 256}.0/24", place=cities.places[city])
        samples = [
            Sample(cities.names[site], cities.places[site], rtt_ms, 5, "", 0.0)
            for site in sites
            if (rtt_ms := cities.rtts_ms[city][site]) is not None
        ]
        network.learn(spot, samples, 0.0)
    network.install(fitted(network.table()))
    return network


def _tried(cities, sites, network, client, weight):
    """One client under every policy; a site whose round trip is not known is not offered."""
    truth_ms = {
        cities.names[s]: cities.rtts_ms[client][s] for s in sites if cities.rtts_ms[client][s] is not None
    }
    nodes = [(cities.names[s], cities.places[s]) for s in sites if cities.names[s] in truth_ms]
    place, best_ms = cities.places[client], min(truth_ms.values())
    stranger = ClientSpot(place=place, place_source="mmdb")
    known = ClientSpot(place=place, place_source="mmdb", client=f"192.0.2.{client}")
    near = sorted(nodes, key=lambda node: distance_km(place, node[1]))
    used_ms = {"geo": truth_ms[near[0][0]]}
    for count in PROBES:
        used_ms[f"geo_probe{count}"] = min(truth_ms[name] for name, _ in near[:count])
    used_ms["learned"] = truth_ms[_least(network, stranger, nodes)]
    for count in PROBES:
        picked = network.probes(stranger, nodes, 0.0, limit_count=count)
        used_ms[f"learned_probe{count}"] = min(truth_ms[name] for name in picked)
    first = network.probes(stranger, nodes, 0.0, limit_count=4)
    _report(network, known, first, dict(nodes), truth_ms)
    used_ms["routed_probe4"] = truth_ms[_least(network, known, nodes)]
    again = network.probes(known, nodes, _AGAIN_S, limit_count=4)
    used_ms["learned_again"] = min(truth_ms[name] for name in (*first, *again))
    _report(network, known, again, dict(nodes), truth_ms, _AGAIN_S)
    used_ms["routed_again"] = truth_ms[_least(network, known, nodes, _AGAIN_S)]
    return [Outcome(policy, value - best_ms, weight) for policy, value in used_ms.items()]


def _report(network, spot, picked, places, truth_ms, now_s=0.0):
    # Without a prefix: what one client reports here must teach nothing to the others of its fold.
    samples = [Sample(name, places[name], truth_ms[name], 2, spot.client, now_s) for name in picked]
    network.learn(ClientSpot(place=spot.place, client=spot.client), samples, now_s)


def _least(network, spot, nodes, now_s=0.0):
    return min(nodes, key=lambda node: network.estimate(spot, *node, now_s).rtt_ms)[0]
