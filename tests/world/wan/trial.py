"""One trial: a fleet comes up, callers call, faults strike by the plan, and what callers noticed is counted."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from tests.world.wan.breaking import Breaker
from tests.world.wan.fleet import HUB, WanFleet
from tests.world.wan.report import failover_s, figures_of
from tests.world.wan.schedule import draw

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
