"""The recipes that the package brings, each from nothing to its end: how long it takes, and what its gates say."""

from __future__ import annotations

import json
import tempfile
import time

from bench_part import Part
from build_data import CHAT_FILE
from build_runs import ROOT, BuildFailedError, edgeward

EXAMPLES = ROOT / "origin" / "build" / "examples"
LIMITS_MINUTES = {"chat": 20.0, "encoder": 20.0, "chat-quick": 4.0, "encoder-quick": 4.0}


def measure(place, *, quick):
    figures, required, runs = {}, {}, []
    for name, limit_minutes in LIMITS_MINUTES.items():
        if quick and not name.endswith("quick"):
            continue
        run = run_through(name, place)
        figure = name.replace("-", "_")
        figures |= {
            f"example_{figure}_minutes": round(run["took_s"] / 60, 1),
            f"example_{figure}_passed": int(run["passed"]),
        }
        required |= {
            f"example_{figure}_minutes": ("<=", limit_minutes),
            f"example_{figure}_passed": (">=", 1),
        }
        runs.append(run)
    return Part(figures=figures, required=required, runs=runs)


def run_through(name, place):
    source = place.data / (CHAT_FILE if name.startswith("chat") else "minilm")
    with tempfile.TemporaryDirectory(prefix="bench-example-") as workspace:
        begun_s = time.monotonic()
        done = edgeward(
            "build", str(EXAMPLES / f"{name}.toml"), "--source", str(source), "--workspace", workspace,
            "--out", str(place.out / "examples" / name), "--json",
        )  # fmt: skip
        took_s = time.monotonic() - begun_s
    if done.returncode not in {0, 1} or not done.stdout.strip():
        raise BuildFailedError(f"{name}: {done.stderr.strip()[-600:]}")
    variants = json.loads(done.stdout)["variants"]
    return {"name": name, "took_s": took_s, "passed": done.returncode == 0, "variants": variants}
