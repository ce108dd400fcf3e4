"""Time to the first token in the simulated world, ours against what others do: a part of bench_routing.

The round trips are the measured ones, what a node can do is measured of a real node at the beginning of the run, and
routing and handing on are the real code (`tests/world/simulation.py`). The figure is the 95th percentile of ours over
the best of the others in the same world.
"""

from __future__ import annotations

import itertools

from tests.bench import node_speeds
from tests.bench.bench_part import Part
from tests.bench.rtt_cities import missing
from tests.world.policies import POLICIES
from tests.world.rtt_worlds import measured_world
from tests.world.simulated_nodes import Speeds
from tests.world.simulation import Scene, simulate

CITIES = (
    "Washington Dallas SanJose SaoPaulo London Frankfurt Stockholm Johannesburg Pune Singapore Tokyo Sydney "
    "Seattle Chicago Atlanta Toronto Paris Madrid HongKong Seoul"
)
BASELINES = ("geo-nearest", "rtt-nearest", "least-loaded", "power-of-two", "weighted-sum")
LIMIT_RATIO = 0.65


def scenes(speeds, sites, *, quick):
    """All that the requirement names, or one corner of it."""
    loads, heartbeats_s, routers = ((0.8,), (5.0,), (16,)) if quick else ((0.6, 0.8), (1.0, 5.0), (1, 4, 16))
    for load, heartbeat_s, count in itertools.product(loads, heartbeats_s, routers):
        yield Scene(
            speeds=speeds, sites=sites, load_share=load, heartbeat_s=heartbeat_s, routers_count=count,
            requests_count=2000 if quick else 4000,
        )  # fmt: skip


def measure(*, quick):
    why_not = missing()
    if why_not:
        return Part(figures={}, absent={"routing_world": why_not})
    try:
        measured = node_speeds.measure()
    except FileNotFoundError as error:
        return Part(figures={}, absent={"routing_world": f"the sample model is not here: {error}"})
    world = measured_world()
    sites = tuple(map(world.index, CITIES.split()))
    speeds = Speeds(**measured)
    figures, required, runs, peers = {}, {}, [{"node_speeds": measured}], {}
    for scene in scenes(speeds, sites, quick=quick):
        where = f"{scene.load_share:.0%}_{scene.heartbeat_s:g}s_{scene.routers_count}".replace("%", "")
        p95_s = {}
        for policy in POLICIES:
            outcome = simulate(scene, world, policy)
            p95_s[policy] = outcome.quantile_s(0.95)
            runs.append({
                "where": where, "policy": policy, "mean_s": outcome.mean_s(), "p50_s": outcome.quantile_s(0.5),
                "p95_s": p95_s[policy], "p99_s": outcome.quantile_s(0.99), "lost_count": outcome.lost_count,
                "handed_on_share": outcome.handed_on_count / len(outcome.answered),
            })  # fmt: skip
        best = min(BASELINES, key=p95_s.__getitem__)
        name = f"p95_ratio_{where}_routers"
        figures[name] = round(p95_s["ours"] / p95_s[best], 3)
        required[name] = ("<=", LIMIT_RATIO)
        peers[name] = {policy: round(p95_s[policy], 4) for policy in POLICIES}
    return Part(figures=figures, required=required, runs=runs, peers=peers)
