"""The command itself, killed by `strace -e inject=CALL:signal=KILL:when=N`, then run again: nothing else is needed.

`test_kill_points.py` hits every call; this is the same by a tracer that is not ours, from the first instruction of the
command on. A few points of each verb by default:

    EDGEWARD_KILL_POINTS=all python -m pytest -m fault -s tests/fault/test_strace.py
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from registry.verify import verify

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

POINTS = os.environ.get("EDGEWARD_KILL_POINTS", "4")
SEED = int(os.environ.get("EDGEWARD_KILL_POINTS_SEED", "1"))
CALLS = (
    "write",
    "pwrite64",
    "fsync",
    "rename",
    "link",
    "unlink",
    "ftruncate",
    "fallocate",
    "sync_file_range",
)
ROOT = Path(__file__).parent.parent.parent
FILES = {
    version: {
        "kept.bin": random.Random(1).randbytes(50_000),
        "weights.bin": random.Random(2).randbytes(80_000) + version.encode(),
    }
    for version in ("1", "2")
}
VERBS = {
    "publish": ("publish", "models/2", "--name", "chat", "--version", "2"),
    "pull": ("pull", "chat@1", "--store", "--to", "pulled"),
    "gc": ("gc", "--grace", "0"),
}


def command(*words):
    return [sys.executable, "-m", "deploy.cli", *words]


def environment_of(world):
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "EDGEWARD_STORE_ENDPOINT": f"file://{world}/store",
        "EDGEWARD_STORE_KEYS_DIR": f"{world}/keys",
        "HOME": str(world),
    }


def run(world, words, tracer=()):
    done = subprocess.run(
        [*tracer, *words],
        cwd=world,
        env=environment_of(world),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def must(world, *words):
    done = run(world, command(*words))
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(world, version):
    shutil.rmtree(world / "checked", ignore_errors=True)
    must(world, "pull", f"chat@{version}", "--store", "--to", "checked")
    assert {path.name: path.read_bytes() for path in (world / "checked/files").iterdir()} == FILES[version]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A directory store with one release, one that was withdrawn, and files for the next."""
    world = tmp_path_factory.mktemp("strace") / "world"
    (world / "store").mkdir(parents=True)
    for version, files in FILES.items():
        (world / "models" / version).mkdir(parents=True)
        for name, data in files.items():
            (world / "models" / version / name).write_bytes(data)
    must(world, "keys", "init")
    (world / "models/old").mkdir()
    (world / "models/old/old.bin").write_bytes(random.Random(3).randbytes(40_000))
    must(world, "publish", "models/old", "--name", "chat", "--version", "0")
    must(world, "publish", "models/1", "--name", "chat", "--version", "1")
    must(world, "yank", "chat@0")
    rest = world.with_name("rest")
    world.rename(rest)
    return rest, world


def counted(world, words, directory):
    """How often each call is made at most by one thread, which is how strace counts."""
    trace = directory / "trace"
    tracer = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
    done = run(world, words, tracer)
    assert done.returncode == 0, done.stderr
    counts = Counter(
        (line.split()[0], line.split()[1].partition("(")[0]) for line in trace.read_text().splitlines()
    )
    most = Counter()
    for (_, call), count in counts.items():
        if call in CALLS:
            most[call] = max(most[call], count)
    return [(call, number) for call, count in sorted(most.items()) for number in range(1, count + 1)]


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_that_strace_kills_needs_nothing_but_another_run(verb, prepared, tmp_path):
    rest, world = prepared
    words = command(*VERBS[verb])

    def fresh():
        shutil.rmtree(world, ignore_errors=True)
        shutil.copytree(rest, world)

    fresh()
    points = counted(world, words, tmp_path)
    drawn = points
    if POINTS != "all":
        drawn = random.Random(SEED).sample(points, min(int(POINTS), len(points)))
    kills = Counter()
    for call, number in drawn:
        fresh()
        done = run(
            world, words, ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e",
                           f"inject={call}:signal=KILL:when={number}"],
        )  # fmt: skip
        kills[call] += done.returncode != 0
        check(world, "1")
        must(world, *VERBS[verb])
        check(world, "1")
        if verb == "publish":
            check(world, "2")
        if verb == "pull":
            assert verify(world / "pulled").whole
        assert not list(world.glob(".partial-*"))
    sys.stderr.write(f"{verb}: {len(drawn)} of {len(points)} points, {kills.total()} kills {dict(kills)}\n")
    assert kills.total() >= len(drawn) // 2
