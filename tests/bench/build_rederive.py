"""Rebuilding quantized files from their parent, bit for bit, where neither llama.cpp nor torch can be imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_part import Part
from build_runs import ROOT, build

TYPES = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")
REQUIRED = {"rederived_types_count": (">=", 4), "rederive_changed_bit_found": (">=", 1)}
PROGRAM = """
import json, sys, time
from pathlib import Path
sys.modules["llama_cpp"] = sys.modules["torch"] = None
from origin.build.gguf.rederive import rederive
start_s = time.process_time()
found = rederive(Path(sys.argv[1]), Path(sys.argv[2]))
print(json.dumps({
    "proven": found.proven, "types": sorted(found.exact), "different": found.different, "untold": found.untold,
    "cpu_s": round(time.process_time() - start_s, 2),
}))
"""


def measure(place, *, quick):
    names = TYPES[:2] if quick else TYPES
    built = build("rederive", place, only=("full", *names) if quick else ())
    files = {name: Path(each["directory"], "model.gguf") for name, each in built.variants.items()}
    runs = [{"type": name} | _rederived(files["full"], files[name]) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder, "model.gguf")
        shutil.copyfile(files[names[0]], changed)
        with changed.open("r+b") as file:
            file.seek(changed.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(changed.stat().st_size // 2)
            file.write(bytes([byte ^ 1]))
        runs.append({"type": f"{names[0]}, one bit changed"} | _rederived(files["full"], changed))
    figures = {
        "rederived_types_count": sum(run["proven"] for run in runs[:-1]),
        "rederive_changed_bit_found": int(not runs[-1]["proven"] and len(runs[-1]["different"]) == 1),
        "rederive_cpu_s": max(run["cpu_s"] for run in runs),
    }
    required = {"rederive_changed_bit_found": REQUIRED["rederive_changed_bit_found"]} if quick else REQUIRED
    return Part(figures=figures, required=required, runs=runs)


def _rederived(parent, child):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(parent), str(child)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
