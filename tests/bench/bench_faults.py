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
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_report import finish

from tests.world.wan.trial import run
from tests.world.wan.wan import missing

REQUIRED = {
    "success_percent": (">=", 99.99),
    "failover_p99_s": ("<=", 2.0),
    "extra_requests_percent": ("<=", 10.0),
    "herd_p99_times": ("<=", 1.5),
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
