"""The readers that are fuzzed, by name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fuzzing():
    """The module `fuzz.py`, which is a script, and `foreign_bytes.py` beside it."""
    found = {}
    for name in ("foreign_bytes", "fuzz"):
        spec = importlib.util.spec_from_file_location(f"fuzzing_{name}", Path(__file__).parent / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        path = list(sys.path)
        spec.loader.exec_module(module)
        sys.path[:] = path
        found[name] = module
    return found
