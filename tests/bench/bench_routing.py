"""Routing, all that is measured of it: which node, how good, how many a second, over HTTP and over DNS.

    python tests/bench/bench_routing.py [--quick] [--json FILE] [--only PART]…

Each part is a file of its own, `routing_PART.py`, with `measure(*, quick) -> Part`. A part that cannot run here says
why, under `absent`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from bench_report import finish, parser  # noqa: E402

PARTS = ("penalty", "world", "decisions", "http", "dns", "wan")


def main():
    flags = parser(__doc__)
    flags.add_argument(
        "--only", action="append", choices=PARTS, help="this part alone; may be said several times"
    )
    args = flags.parse_args()
    figures, required, runs, peers, absent, packages = {}, {}, {}, {}, {}, {"numpy", "msgspec"}
    for name in args.only or PARTS:
        try:
            part = importlib.import_module(f"routing_{name}").measure(quick=args.quick)
        except ImportError as error:
            absent[name] = f"{error.name} is not installed"
            continue
        figures |= part.figures
        required |= part.required
        runs[name] = part.runs
        peers |= part.peers
        absent |= part.absent
        packages |= set(part.packages)
    return finish(
        args.json,
        figures=figures,
        required=required,
        packages=sorted(packages),
        runs=runs,
        peers=peers,
        absent=absent,
    )


if __name__ == "__main__":
    sys.exit(main())
