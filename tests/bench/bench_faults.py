"""Real nodes, origins and callers on a WAN of namespaces, and faults of all kinds from a seed: what callers notice.

Callers use the real client; hosts stand in cities at their measured round trips (a made-up world without the data).
`success_percent` is over calls that began while one node was well at least, which the plan sees to throughout.
`failover_…` is how long calls waited that needed another node: up to the first text, or the longest gap of a stream
that was resumed. `extra_requests_percent` counts POSTs to nodes on the wire beyond one a call (307s are apart).
`herd_…_times` is the busiest second of a node within 10 s of its return over the busiest second of all calls then.
Needs root. `python tests/bench/bench_faults.py --minutes 30 [--seed N] [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_report import finish

from tests.world.wan.breaking import Breaker
from tests.world.wan.fleet import HUB, WanFleet
from tests.world.wan.report import failover_s, figures_of
from tests.world.wan.schedule import draw
from tests.world.wan.wan import missing

REQUIRED = {
    "success_percent": (">=", 99.99),
    "failover_p99_s": ("<=", 2.0),
    "extra_requests_percent": ("<=", 10.0),
    "herd_p99_times": ("<=", 1.5),
}
AFTER_S = 75.0
"""How long calls that are still under way at the end may take to end."""


def rows_of(fleet):
    """What callers have written down, in the order of their calls."""
    files = [fleet.directory / f"{caller}.jsonl" for caller in fleet.callers]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    return sorted(map(json.loads, lines), key=lambda row: row["began_s"])


def run(directory, *, length_s, seed, nodes_count, rate_per_s, say=lambda _text: None):
    """Figures, and what they were made of."""
    with WanFleet(directory, nodes_count=nodes_count, seed=seed) as fleet:
        fleet.bring_up()
        say("the fleet is up")
        faults = draw(seed, length_s=length_s, nodes=fleet.nodes, origins=fleet.origins, hub=HUB)
        began_s = time.monotonic() + 2
        ends_s = began_s + length_s
        for number, caller in enumerate(fleet.callers):
            fleet.start_caller(
                caller, seed=seed * 100 + number, rate_per_s=rate_per_s / len(fleet.callers), ends_s=ends_s,
                chat_share=0.1,
            )  # fmt: skip
        breaker, posts, said_s = Breaker(fleet, faults, seed=seed), [], [began_s]

        def watch(now_s):
            posts.extend(fleet.wan.posts())
            if now_s - said_s[0] > 60:
                said_s[0] = now_s
                say(json.dumps(figures_of(rows_of(fleet), posts, breaker.mended, fleet.nodes)))

        breaker.run(began_s, ends_s, watch=watch)
        for caller in fleet.callers:
            fleet.children[caller].wait(AFTER_S)
        posts.extend(fleet.wan.posts())
        rows = rows_of(fleet)
        (fleet.directory / "wire.json").write_text(
            json.dumps({"began_s": began_s, "posts": posts, "mended": breaker.mended})
        )
        figures = figures_of(rows, posts, breaker.mended, fleet.nodes)
        figures["faults_count"] = len(faults)
        remarkable = [
            {**row, "at_s": round(row["began_s"] - began_s, 2)}
            for row in rows
            if not row["ok"] or (failover_s(row) or 0) > 1.0
        ]
        return figures, {
            "seed": seed,
            "faults": [asdict(fault) for fault in faults],
            "remarkable": remarkable,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--rate", type=float, default=8.0, help="calls a second, of all callers together")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE, too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave logs and records there")
    args = parser.parse_args()
    if reason := missing():
        sys.exit(f"no WAN here: {reason}")
    directory = args.keep or Path(tempfile.mkdtemp(prefix="edgeward-wan-"))
    try:
        figures, made_of = run(
            directory, length_s=60.0 if args.quick else args.minutes * 60, seed=args.seed, nodes_count=args.nodes,
            rate_per_s=args.rate, say=lambda text: print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True),
        )  # fmt: skip
    finally:
        if args.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    packages = ("aiohttp", "llama-cpp-python", "onnxruntime")
    return finish(args.json, figures=figures, required=REQUIRED, packages=packages, runs=[made_of])


if __name__ == "__main__":
    sys.exit(main())
