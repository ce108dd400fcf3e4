"""Ctrl-C in the middle of a publish and of a pull: nothing is broken, nothing is said, and the same verb goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from registry.layout import PACKS
from registry.store.s3 import open_s3

pytestmark = pytest.mark.system

SIZE_BYTES = 400_000_000
INTERRUPTED = 130


@pytest.fixture
def edgeward(own_store_config, tmp_path):
    """Starts the command; what it says is read by `ended`."""
    environment = os.environ | {
        "EDGEWARD_STORE_ENDPOINT": own_store_config.endpoint,
        "EDGEWARD_STORE_BUCKET": own_store_config.bucket,
        "EDGEWARD_STORE_REGION": own_store_config.region,
        "EDGEWARD_STORE_ACCESS_KEY": own_store_config.access_key,
        "EDGEWARD_STORE_SECRET_KEY": own_store_config.secret_key,
        "EDGEWARD_STORE_KEYS_DIR": str(tmp_path / "keys"),
    }

    def edgeward(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", *words, "--json"],
            env=environment | {"PYTHONPATH": str(Path.cwd())},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert _ended(edgeward("keys", "init"))
    return edgeward


def _ended(process):
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 0, complained
    return json.loads(said)


def _interrupt(process, condition):
    """Send SIGINT once the condition holds, while the process runs."""
    deadline_s = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, f"it ended before the signal: {process.communicate()}"
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert (process.returncode, said) == (INTERRUPTED, "")
    assert "Traceback" not in complained


def test_what_is_interrupted_goes_on(edgeward, own_store_config, tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(np.random.default_rng(9).bytes(SIZE_BYTES))
    store = open_s3(own_store_config)
    publish = ("publish", "large.bin", "--name", "large", "--version", "1")
    pull = ("pull", "large", "--store", "--to", "here/1")

    before = {info.key for info in store.list(PACKS)}
    _interrupt(edgeward(*publish), lambda: {info.key for info in store.list(PACKS)} - before)
    assert list(store.list("manifests/large/")) == []
    published = _ended(edgeward(*publish))
    assert published["outcome"] == "published"
    assert 0 < published["uploaded_bytes"] < SIZE_BYTES

    journals = lambda: list((tmp_path / "here").glob(".partial-*/journal"))  # noqa: E731
    _interrupt(edgeward(*pull), lambda: any(journal.stat().st_size > 37 for journal in journals()))
    assert not (tmp_path / "here/1").exists()
    report = _ended(edgeward(*pull))["report"]
    assert report["resumed_bytes"] > 0
    assert report["resumed_bytes"] + report["fetched_bytes"] >= SIZE_BYTES
    assert (tmp_path / "here/1/files/large.bin").read_bytes() == path.read_bytes()
    assert [place.name for place in (tmp_path / "here").iterdir()] == ["1"]
