"""One recipe run as a user runs it: `edgeward build`, in a process of its own, beside the data that it names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = Path(__file__).parent / "recipes"
_TAIL = 600


class BuildFailedError(Exception):
    """A build ended without variants."""


@dataclass(frozen=True)
class Built:
    """What a build made.

    Attributes:
        variants: by name, as `edgeward build --json` gives them.
        took_s: wall time of each step by its id.
    """

    variants: dict
    took_s: dict

    def figure(self, variant, name):
        """A figure's value."""
        return self.variants[variant]["evaluation"]["figures"][name]["value"]

    def megabytes(self, variant):
        """The size of the file with the weights."""
        return self.variants[variant]["weights_bytes"] / 1e6


def build(name, place, *, only=(), threads_count=None):
    """Run `recipes/NAME.toml` with the data in `place.data`; what is done already is not done again."""
    recipe = place.data / f"{name}.toml"
    shutil.copyfile(RECIPES / f"{name}.toml", recipe)
    flags = ["--workspace", str(place.workspace), "--json", "--out", str(place.out / name)]
    flags += [word for variant in only for word in ("--only", variant)]
    flags += ["--threads", str(threads_count)] if threads_count else []
    done = edgeward("build", str(recipe), *flags)
    if done.returncode not in {0, 1} or not done.stdout.strip():
        raise BuildFailedError(f"{name}: {done.stderr.strip()[-_TAIL:] or done.stdout[-_TAIL:]}")
    plan = edgeward("build", str(recipe), "--workspace", str(place.workspace), "--plan", "--json")
    return Built(
        {each["name"]: each for each in json.loads(done.stdout)["variants"]},
        {step["id"]: step["took_s"] for step in json.loads(plan.stdout)["steps"]},
    )


@dataclass(frozen=True)
class Place:
    """Folders of a run: what `build_data.py` makes, what steps make, and the reports."""

    data: Path
    workspace: Path
    out: Path


def edgeward(*words):
    """The command, run as a user runs it; what came of it."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
