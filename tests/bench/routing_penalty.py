"""How many ms a client loses against the node with the least round trip, on real round trips between cities.

    python -m tests.bench.routing_penalty FOLDER [--sites COUNT]… [--fleets COUNT]

tries any other set of round trips, in the form that `rtt_cities.py` describes, with random fleets of 6, 12, 20 and 30
sites (up to half of the cities) or those told.

Sites are cities; every other city is a client, and each country counts once. Nothing is learned from the client's own
city, nor from any within 50 km, unless by its own probes: what the sites have seen of the other cities is a table as
`Network` keeps it, the surface is fitted to it, and the probes are those that `Network.probes` names. Policies:

    geo                the nearest site
    geo_probeK         the K nearest are probed, the best of them is used
    learned            the least estimate
    learned_probeK     the K that `Network.probes` names are probed, the best of them is used
    routed_probe4      the same probes, then the least estimate over all sites, as the score sees it
    learned_again      two lists of 4, the second made with what the first has shown: a minute later
    routed_again       the least estimate over all sites then

`random` is the mean over random fleets, where groups of cities are left out together (a tenth of all: less is learned).
`saved_ms` is what `learned_probe4` loses less than `geo_probe4` there, `worse_percent` in how many fleets it loses more
by over 0.05 ms.
"""

from __future__ import annotations

import json
import random
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

from origin.geo.client_spot import ClientSpot
from origin.geo.distance import distance_km
from origin.geo.heard import Sample
from origin.geo.network import Network
from origin.geo.rtt_surface import fitted
from origin.geo.rtt_table import RttTable
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
_WORSE_MS = 0.05
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
    for count in FLEETS:
        fleets_count = 2 if quick else _RANDOM_COUNT
        figures |= random_fleets(cities, count, fleets_count)
        runs.append({"random_fleets": fleets_count, "sites": count})
        if not quick:
            required[f"saved_ms_random_{count}_sites"] = (">=", 0.0)
    return Part(figures=figures, required=required, runs=runs, packages=("numpy",))


def random_fleets(cities, count, fleets_count):
    """The mean over fleets of so many sites drawn by chance."""
    chance = random.Random(_SEED + count)
    summaries = []
    for _ in range(fleets_count):
        sites = chance.sample(range(len(cities.names)), count)
        summaries.append(summary(outcomes_of(cities, sites, folds_count=_FOLDS_COUNT)))
    found = {name: sum(one[name] for one in summaries) / fleets_count for name in summaries[0]}
    saved_ms = [one["mean_ms_geo_probe4"] - one["mean_ms_learned_probe4"] for one in summaries]
    found["saved_ms"] = sum(saved_ms) / fleets_count
    found["worse_percent"] = 100 * sum(saved < -_WORSE_MS for saved in saved_ms) / fleets_count
    return {f"{name}_random_{count}_sites": round(value, 3) for name, value in found.items()}


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
    clients = [
        i
        for i in range(len(cities.names))
        if i not in set(sites) and any(cities.rtts_ms[i][s] is not None for s in sites)
    ]
    order = clients[:]
    random.Random(_SEED).shuffle(order)
    folds = (
        [[i] for i in order] if folds_count is None else [order[n::folds_count] for n in range(folds_count)]
    )
    weights = dict(zip(clients, cities.weights(clients), strict=True))
    taught = table_of(cities, sites, clients)
    outcomes = []
    for fold in folds:
        known = taught.copied()
        for city in clients:
            if any(distance_km(cities.places[city], cities.places[i]) <= _SAME_CITY_KM for i in fold):
                known.forget(city)
        network = Network()
        network.install(fitted(known))
        for client in fold:
            outcomes += _tried(cities, sites, network, client, weights[client])
    return outcomes


def table_of(cities, sites, clients):
    """What the sites have seen of these cities."""
    table = RttTable()
    for city in clients:
        for site in sites:
            rtt_ms = cities.rtts_ms[city][site]
            if rtt_ms is not None:
                table.put(city, cities.places[city], cities.names[site], cities.places[site], rtt_ms)
    return table


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


def main():
    """Try another set."""
    flags = ArgumentParser(description=__doc__.partition("\n")[0])
    flags.add_argument("folder", type=Path)
    flags.add_argument("--sites", type=int, action="append", help="how many sites; may be said several times")
    flags.add_argument("--fleets", type=int, default=_RANDOM_COUNT, help="how many random fleets of each")
    args = flags.parse_args()
    cities = read_cities(args.folder)
    figures = {"cities": len(cities.names)}
    for count in args.sites or [n for n in (6, *FLEETS) if n <= len(cities.names) // 2]:
        figures |= random_fleets(cities, count, args.fleets)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
