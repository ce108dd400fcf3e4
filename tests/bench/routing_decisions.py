"""Decisions a second on one core, for fleets of 10 to 10,000 nodes: a part of bench_routing.

Everything but HTTP is real: heartbeats come in at their rate, what is decided is noted as sent, and each decision
explains its four nodes term by term. Figures are decisions for each second of CPU, so that others on the machine do
not count; the slowest of the runs is the figure.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_part import Part

from origin.api import ModelReport, NodeReport, Place
from origin.fleet import Fleet, FleetRules
from origin.geo.choose import Ask, choose, parse_model
from origin.geo.client_spot import ClientSpot

FLEETS = (10, 100, 200, 1000, 10_000)
CITIES_COUNT = 120
SPOTS_COUNT = 200
MODELS_COUNT = 4
HEARTBEAT_S = 1.0
BATCH_COUNT = 20


def places(rng, count):
    """Cities as people live: mostly between 60 north and 40 south, in clusters."""
    middles = [(rng.uniform(-40, 60), rng.uniform(-180, 180)) for _ in range(12)]
    found = []
    for _ in range(count):
        lat, lon = rng.choice(middles)
        found.append(
            Place(max(-89, min(89, lat + rng.gauss(0, 8))), (lon + rng.gauss(0, 12) + 180) % 360 - 180)
        )
    return found


def report(rng, number, cities, *, busy):
    """A node with every model; its figures are of the size that small models have on small machines."""
    models = tuple(
        ModelReport(
            name=f"model-{model}", version="1.0", state="ready", slots=4, busy=rng.choice(busy), queued=0,
            service_s=rng.uniform(0.3, 2.0), prefill_tokens_per_s=rng.uniform(300, 3000), load_s=2.0,
        )
        for model in range(MODELS_COUNT)
    )  # fmt: skip
    return NodeReport(
        node_id=f"node-{number}", incarnation=1, url=f"https://node-{number}.example",
        place=cities[number % len(cities)], models=models,
    )  # fmt: skip


class Load:
    """A fleet, its heartbeats and its clients on a clock of their own."""

    def __init__(self, nodes_count, *, seed=1):
        self.rng = rng = random.Random(seed)
        self.cities = places(rng, CITIES_COUNT)
        self.fleet = Fleet(FleetRules(heartbeat_s=HEARTBEAT_S))
        self.reports = [
            report(rng, n, self.cities, busy=(0, 1, 1, 2, 2, 3, 4, 5)) for n in range(nodes_count)
        ]
        for it in self.reports:
            self.fleet.accept(it, 0.0)
        asked = [parse_model(f"model-{n}") for n in range(MODELS_COUNT)]
        where = [ClientSpot(prefix=f"10.{n >> 8}.{n & 255}.0/24", place=p, place_source="mmdb")
                 for n, p in enumerate(places(rng, SPOTS_COUNT))]  # fmt: skip
        self.asks = [
            Ask(*rng.choice(asked), spot=rng.choice(where), prompt_tokens=rng.randrange(10, 2000),
                session=f"session-{rng.randrange(5000)}")
            for _ in range(20_000)
        ]  # fmt: skip
        self.number = 0

    def beat(self, now_s):
        """The next node reports."""
        self.fleet.accept(self.reports[self.number % len(self.reports)], now_s)
        self.number += 1

    def decide(self, ask, now_s, chance):
        decision = choose(self.fleet.view(now_s), ask, None, chance=chance)
        best = decision.nodes[0]
        release = (ask.reference.name, best.version)
        self.fleet.note_routed(best.node_id, release, now_s, travel_s=best.rtt_ms / 1000)


def speed(nodes_count, decisions_count, *, load_share=0.7):
    """Decisions for each second of CPU that they take, and of CPU that they and the heartbeats take together."""
    load = Load(nodes_count)
    capacity_per_s = sum(m.slots / m.service_s for it in load.reports for m in it.models)
    step_s = 1 / (load_share * capacity_per_s)
    chances = [load.rng.random() for _ in range(1000)]
    now_s = beats_due = 0.0
    deciding_s = beating_s = 0.0
    for (
        ask
    ) in load.asks:  # spots that were seen before are the rule; what the first sight costs is told apart
        choose(load.fleet.view(0.0), ask, None)
    warming_count = 2000
    for start in range(0, warming_count + decisions_count, BATCH_COUNT):
        began_s = time.process_time()
        beats_due += BATCH_COUNT * step_s * nodes_count / HEARTBEAT_S
        while beats_due >= 1:
            load.beat(now_s)
            beats_due -= 1
        beaten_s = time.process_time()
        for number in range(start, start + BATCH_COUNT):
            now_s += step_s
            load.decide(load.asks[number % len(load.asks)], now_s, chances[number % 1000])
        if start >= warming_count:
            beating_s += beaten_s - began_s
            deciding_s += time.process_time() - beaten_s
    return decisions_count / deciding_s, decisions_count / (deciding_s + beating_s)


def first_sight_ms(nodes_count, spots_count):
    """CPU milliseconds of a decision for a spot that nobody has asked from before."""
    load = Load(nodes_count)
    load.decide(load.asks[0], 0.0, 1.0)
    fresh = [ClientSpot(prefix=f"172.16.{n}.0/24", place=p, place_source="mmdb")
             for n, p in enumerate(places(load.rng, spots_count))]  # fmt: skip
    reference, bare = parse_model("model-0")
    began_s = time.process_time()
    for spot in fresh:
        load.decide(Ask(reference, any_channel=bare, spot=spot, prompt_tokens=100), 0.0, 1.0)
    return 1000 * (time.process_time() - began_s) / spots_count


def measure(*, quick):
    figures, runs = {}, []
    for nodes_count in FLEETS:
        decisions_count = 4000 if quick else 20_000
        samples = [speed(nodes_count, decisions_count) for _ in range(1 if quick else 3)]
        fresh_ms = first_sight_ms(nodes_count, 20 if quick else 100)
        figures[f"decisions_per_cpu_s_{nodes_count}_nodes"] = round(min(alone for alone, _ in samples))
        figures[f"decisions_and_heartbeats_per_cpu_s_{nodes_count}_nodes"] = round(
            min(both for _, both in samples)
        )
        figures[f"first_decision_of_a_spot_ms_{nodes_count}_nodes"] = round(fresh_ms, 3)
        runs.append({"nodes": nodes_count, "alone_and_with_heartbeats": samples})
    return Part(figures=figures, required={"decisions_per_cpu_s_200_nodes": (">=", 20_000)}, runs=runs)
