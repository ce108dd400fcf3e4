"""A kill before every single call that changes a file: run again, and everything is as if nothing had happened.

Some points of each verb, drawn from a seed, by default. All of them, or another draw:

    EDGEWARD_KILL_POINTS=all python -m pytest -m fault -s tests/fault/test_kill_points.py
    EDGEWARD_KILL_POINTS=40 EDGEWARD_KILL_POINTS_SEED=7 python -m pytest -m fault tests/fault/test_kill_points.py

For each point: a copy of a prepared world, the verb, killed there (`kill_server.py`); what was acknowledged before must
be there already; the verb again, with no hand in between; then the result must be whole, and nothing left over.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import sys
from collections import Counter
from functools import partial

import pytest

from tests.fault.kill_scenarios import SCENARIOS, Server

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"},
        reason="traces system calls of Linux on x86-64 and aarch64",
    ),
]

POINTS = os.environ.get("EDGEWARD_KILL_POINTS", "12")
SEED = int(os.environ.get("EDGEWARD_KILL_POINTS_SEED", "1"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("said") / "output")
    yield server
    server.close()


@pytest.mark.parametrize("kind", SCENARIOS, ids=lambda kind: kind.__name__)
def test_a_kill_at_any_call_needs_nothing_but_another_run(kind, server, tmp_path):
    scenario, prepared, world = kind(), tmp_path / "prepared", tmp_path / "world"
    # Under the name that it will have: paths are in what is remembered.
    world.mkdir()
    scenario.prepare(server, world)
    world.rename(prepared)
    calls = in_copy(prepared, world, lambda: server.must(world, *scenario.words))
    points = list(range(1, len(calls) + 1))
    if POINTS != "all":
        points = sorted(random.Random(SEED).sample(points, min(int(POINTS), len(points))))
    hit = Counter()
    for number in points:
        for torn in (False, True):
            if torn and calls[number - 1][0] not in {"write", "pwrite64"}:
                continue
            in_copy(prepared, world, partial(killed_once, scenario, server, world, number, torn, hit))
    sys.stderr.write(
        f"{kind.__name__}: {len(points)} of {len(calls)} points, {sum(hit.values())} kills {dict(hit)}\n"
    )
    assert sum(hit.values()) >= len(points) // 2


def in_copy(prepared, world, work):
    shutil.copytree(prepared, world, symlinks=True)
    try:
        return work()
    finally:
        shutil.rmtree(world)


def killed_once(scenario, server, world, number, torn, hit):
    """Kill at this call, look, run again, look again."""
    answer = server.run(world, *scenario.words, kill_at=number, torn=torn)
    last = f"{'in' if torn else 'before'} call {number}: {answer['calls'][-1:]}"
    if answer["killed"]:  # threads make their calls in another order each time, and sometimes a few less
        hit[answer["calls"][-1][0]] += 1
    try:
        scenario.between(server, world)
        server.must(world, *scenario.words)
        scenario.after(server, world)
    except BaseException as error:
        error.add_note(f"after a kill {last}")
        raise
