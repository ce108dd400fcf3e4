"""How long a caller waits when its node dies, and what is lost and sent too often under random faults: a part of
bench_routing.

Nodes are scripted servers on loopback, which answer after 10 ms; the client is the real one. `failover_…` is the whole
time of the first call after a warmed client's best node broke: killed (its port closed), dark (SYNs dropped by a full
queue), hung (connections accepted, nothing answered, probes neither), reset (each request's connection cut), or
answering 500. `chaos_…`: eight callers, six nodes of which five break again and again, at random from a seed, and an
origin that goes on ranking the dead ones first.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_part import Part
from bench_report import arguments, finish

from edge_node.client import AsyncClient, ClientConfig
from tests.edge_node.client.chaos import chaos
from tests.edge_node.client.faulty_fleet import BlindOrigin, FaultyNode

DEATHS = {"killed": "down", "dark": "dark", "hung": "hang", "reset": "reset", "error": "error"}


async def one_death(mode):
    """The seconds of the first call after the best of four nodes broke."""
    nodes = [FaultyNode(f"n{i}", delay_s=0.01) for i in range(4)]
    for node in nodes:
        await node.start()
    origin = BlindOrigin(nodes)
    await origin.start()
    async with AsyncClient(config=ClientConfig(origin=(origin.url,), timeout_s=30.0)) as client:
        await client.chat("x", model="chat")
        while not origin.reports:  # noqa: ASYNC110  # it has probed them all once it reports
            await asyncio.sleep(0.01)
        await nodes[0].set(mode)
        await asyncio.sleep(0.05)  # a kept connection that was closed is seen to be
        began_s = time.monotonic()
        served = (await client.chat("x", model="chat")).served
        took_s = time.monotonic() - began_s
        assert served.attempts == 2
    for node in nodes:
        await node.stop()
    await origin.stop()
    return took_s


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(*, quick: bool) -> Part:
    """Every kind of death, then random faults."""
    figures, required, runs = {}, {}, []
    for name, mode in DEATHS.items():
        times_s = [asyncio.run(one_death(mode)) for _ in range(3 if quick else 50)]
        runs.append({"death": name, "times_s": times_s})
        figures[f"failover_{name}_p50_s"] = round(quantile(times_s, 0.5), 3)
        figures[f"failover_{name}_p99_s"] = round(quantile(times_s, 0.99), 3)
        required[f"failover_{name}_p99_s"] = ("<=", 2.0)
    tallies = [
        asyncio.run(chaos(seed, length_s=5.0 if quick else 30.0)) for seed in range(1, 2 if quick else 7)
    ]
    calls = sum(tally.calls_count for tally in tallies)
    failovers_s = [took_s for tally in tallies for took_s in tally.failovers_s]
    figures |= {
        "chaos_calls_count": calls,
        "chaos_success_percent": round(100 * (1 - sum(len(t.failures) for t in tallies) / calls), 4),
        "chaos_extra_percent": round(100 * (sum(t.asked_count for t in tallies) / calls - 1), 2),
        "chaos_extra_worst_percent": round(100 * max(t.extra_share for t in tallies), 2),
        "chaos_failover_p99_s": round(quantile(failovers_s, 0.99), 3),
    }
    required |= {
        "chaos_success_percent": (">=", 99.99),
        "chaos_extra_percent": ("<=", 10.0),
        "chaos_failover_p99_s": ("<=", 2.0),
    }
    runs += [
        {"seed": seed, "calls": t.calls_count, "failures": t.failures, "extra_share": t.extra_share}
        for seed, t in enumerate(tallies, start=1)
    ]
    return Part(figures=figures, required=required, runs=runs, packages=("aiohttp",))


if __name__ == "__main__":
    args = arguments(json.dumps(__doc__.splitlines()[0]).strip('"'))
    part = measure(quick=args.quick)
    sys.exit(
        finish(
            args.json, figures=part.figures, required=part.required, packages=part.packages, runs=part.runs
        )
    )
