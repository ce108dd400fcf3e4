"""Builds killed at any moment: the same command goes on, nothing is done twice, and the bytes are the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.origin.build.toy_llama import write_toy_llama
from tests.origin.build.toy_recipes import head, step, table, texts, variant, weighed_four

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parents[2]
TEXTS = ROOT / "origin/build/examples/texts"
RECIPE = (
    head("toy")
    + texts("learn", f"{TEXTS}/learn.txt", limit_count=40)
    + texts("judge", f"{TEXTS}/judge.txt")
    + weighed_four("rounded", data="learn", tokens=1024)
    + step(
        "trained",
        "qat",
        "rounded",
        teacher="source",
        weights="source",
        data="learn",
        steps_count=60,
        row_tokens=64,
    )
    + variant("q4", "trained")
    + table("[evaluate]", texts="judge", tokens_count=1024, speeds=False)
    + "[gate]\nkl_mean = { max = 99.0 }\n"
)


@pytest.fixture
def folder(tmp_path):
    write_toy_llama(tmp_path / "toy.gguf")
    (tmp_path / "toy.toml").write_text(RECIPE)
    return tmp_path


def start(folder, workspace):
    command = [
        sys.executable, "-m", "deploy.cli", "build", str(folder / "toy.toml"), "--workspace", str(folder / workspace),
        "--threads", "1", "--json",
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)}, start_new_session=True,
    )  # fmt: skip


def model_of(folder, workspace):
    process = start(folder, workspace)
    out, _ = process.communicate()
    assert process.returncode == 0
    (variant,) = json.loads(out)["variants"]
    return (Path(variant["directory"]) / "model.gguf").read_bytes(), variant["evaluation"]["figures"][
        "kl_mean"
    ]


def workers(folder):
    found = subprocess.run(
        ["pgrep", "-f", f"child.worker|{folder}"], capture_output=True, text=True, check=False
    )
    pids = []
    for pid in map(int, found.stdout.split()):
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if f"HOME={folder}".encode() in environ:
            pids.append(pid)
    return pids


@pytest.mark.parametrize("seed", range(3))
def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(folder, seed):
    started_s = time.monotonic()
    calm = model_of(folder, "calm")
    whole_s = time.monotonic() - started_s
    rng = random.Random(seed)
    kills_count = 0
    for _ in range(12):
        process = start(folder, "rough")
        try:
            process.wait(rng.uniform(0.02, 0.4) * whole_s)
            break
        except subprocess.TimeoutExpired:
            kills_count += 1
            if rng.random() < 0.7:
                process.send_signal(signal.SIGKILL)
            else:
                process.send_signal(signal.SIGINT)
        process.communicate()
    assert kills_count >= 2
    deadline_s = time.monotonic() + 30
    assert model_of(folder, "rough") == calm
    while workers(folder):
        assert time.monotonic() < deadline_s, "a child outlives its builder"
        time.sleep(0.1)
    left = [path.name for path in (folder / "rough/incoming").iterdir()]
    assert left == []
    assert [path.name for path in (folder / "rough/references").rglob(".part*")] == []
    checkpoints = folder / "rough/checkpoints"
    assert [path for path in checkpoints.rglob("*") if path.is_file()] == []
