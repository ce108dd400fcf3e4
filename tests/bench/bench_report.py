"""The form of every benchmark's result: one JSON object, the same keys everywhere."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from pathlib import Path


def parser(description):
    """The flags that every benchmark takes."""
    flags = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--quick", action="store_true", help="fewer and shorter runs: to see that it works")
    flags.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE, too")
    return flags


def arguments(description):
    """The flags of a benchmark that takes no others."""
    return parser(description).parse_args()


def cpu_name():
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def finish(file, *, figures, required, packages, runs, peers=None, absent=None):
    """Print the result and say which figures fall short; a shortfall is shown, never hidden.

    Args:
        required: name of a figure to `(relation, limit)`, the relation being `<=` or `>=`.
        packages: distributions whose versions belong to the result.
    """
    missed = [
        name
        for name, (relation, limit) in required.items()
        if not (figures[name] <= limit if relation == "<=" else figures[name] >= limit)
    ]
    result = {
        "figures": figures,
        "peers": peers or {},
        "required": {name: f"{relation} {limit}" for name, (relation, limit) in required.items()},
        "missed": missed,
        "absent": absent or {},
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "runs": runs,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if file is not None:
        file.write_text(text + "\n")
    return 0
