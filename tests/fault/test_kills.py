"""kill -9 of any process at any time, drawn from a seed, under light load: all of it mends by restart alone.

A minute of kills by default. For longer, or to replay what a run printed:

    EDGEWARD_KILLS_S=900 EDGEWARD_KILLS_SEED=7 python -m pytest -m fault -s tests/fault/test_kills.py
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest

from edge_node.client import Client
from registry.errors import EdgewardError

pytestmark = pytest.mark.fault

KILLS_S = float(os.environ.get("EDGEWARD_KILLS_S", "60"))
SEED = int(os.environ.get("EDGEWARD_KILLS_SEED", "1"))
PARIS = (48.85, 2.35)
WANTED = [("chat", "1.0.0"), ("embed", "1.0.0")]
BLOB_BYTES = 24_000_000
MEND_S = 120.0
# A call that lasts longer than this hangs: engines answer it in well under a second.
CALL_LIMIT_S = 60.0


def wait_for(condition, timeout_s=MEND_S):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def say(line):
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


class Load(threading.Thread):
    """One client that never stops asking; every answer that it gets must be the right one."""

    def __init__(self, origin_url):
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.answers_count = 0
        self.refusals = []
        self.wrong = []
        self._origin_url = origin_url

    def run(self):
        with Client(self._origin_url, place=PARIS, timeout_s=30) as client:
            [cat] = client.embed(["a cat on a mat"], model="embed")
            self.answers_count += 1
            number = 0
            while not self.stopping.wait(0.05):
                number += 1
                started_s = time.monotonic()
                try:
                    # The number keeps requests apart: the same one at work in two deaths is refused by design.
                    again, _ = client.embed(["a cat on a mat", f"{number} cats"], model="embed")
                    answer = client.chat(f"Say {number}.", model="chat", max_tokens=6, temperature=0)
                except EdgewardError as error:
                    self.refusals.append(f"{type(error).__name__}: {error.message}")
                except Exception:  # noqa: BLE001  # nothing else may reach a caller
                    self.wrong.append(traceback.format_exc())
                else:
                    self.answers_count += 1
                    # Batches of other shapes sum int8 weights in another order.
                    off = max(abs(a - b) for a, b in zip(cat, again, strict=True))
                    if off > 0.02 or not answer.text or answer.served.release != "chat@1.0.0":
                        self.wrong.append(f"{number}: {off}, {answer.text!r} from {answer.served.release}")
                took_s = time.monotonic() - started_s
                if took_s > CALL_LIMIT_S:
                    self.wrong.append(f"{number}: took {took_s:.0f} s")


class Killer:
    """Each method is one kind of kill, and what must hold after it."""

    def __init__(self, network, rng, work, processes_of):
        self.network = network
        self.rng = rng
        self.work = work
        self.processes_of = processes_of
        self.blobs_count = 0

    def engine(self):
        """An engine, while its node lives on."""
        node = self._a_node()
        children = _children_of(self.network.pids()[node])
        if children:
            self._kill(self.rng.choice(children))

    def node(self):
        """A node, with its engines."""
        self._kill_part(self._a_node())

    def node_mid_fetch(self):
        """A node that has lost its disk, again and again while it fetches anew."""
        node = self._a_node()
        self._kill_part(node)
        shutil.rmtree(self.network.directory / "nodes" / node.removeprefix("node-") / "models")
        for _ in range(self.rng.randrange(1, 4)):
            self.restart()
            time.sleep(self.rng.uniform(0.5, 2.5))
            self._kill_part(node)

    def origin(self):
        """The origin."""
        self._kill_part("origin")

    def store(self):
        """The object store."""
        self._kill_part("object store")

    def store_and_origin(self):
        """Both at once: nothing but the nodes is left."""
        self._kill_part("object store")
        self._kill_part("origin")

    def everything(self):
        """A power cut."""
        for part in list(self.network.pids()):
            self._kill_part(part)

    def publisher(self):
        """A publisher on its way; publishing again finishes what it began."""
        self.mend()
        self.blobs_count += 1
        blob = self.work / f"blob{self.blobs_count}"
        blob.mkdir()
        (blob / "blob.bin").write_bytes(self.rng.randbytes(BLOB_BYTES))
        words = [
            "publish",
            str(blob),
            "--name",
            "blob",
            "--version",
            str(self.blobs_count),
            "--channel",
            "blobs",
        ]
        for _ in range(2):
            self._cut_off(words, 1.5)
        assert self._edgeward(*words).returncode == 0
        shutil.rmtree(blob)

    def pull(self):
        """A pull on its way; pulling again goes on, and nothing stays behind."""
        self.mend()
        target = self.work / f"pulled{self.rng.randrange(10**9)}"
        words = ["pull", "embed", "--to", str(target)]
        for _ in range(2):
            self._cut_off(words, 1.2)
        done = self._edgeward(*words)
        assert done.returncode == 0, done.stderr
        assert self._edgeward("verify", str(target)).returncode == 0
        assert not list(self.work.glob(".partial-*"))
        shutil.rmtree(target)

    def _a_node(self):
        nodes = sorted(part for part in self.network.pids() if part.startswith("node-"))
        if not nodes:  # the kill before this one took all of them
            self.mend()
            return self._a_node()
        return self.rng.choice(nodes)

    def restart(self):
        """What `edgeward up` does every second."""
        self.network.restart_dead()

    def mend(self):
        """Restart what is dead, and nothing else, until every node serves again."""

        async def serving():
            deadline_s = time.monotonic() + MEND_S
            while True:
                self.network.restart_dead()
                try:
                    await self.network.wait_until_serving(WANTED, timeout_s=2)
                except EdgewardError:
                    if time.monotonic() > deadline_s:
                        raise
                    await asyncio.sleep(0.1)
                else:
                    return

        asyncio.run(serving())
        wait_for(lambda: self._edgeward("models").returncode == 0)

    def _kill_part(self, part):
        pid = self.network.pids().get(part)
        if pid is not None:
            orphans = _children_of(pid)
            self._kill(pid)
            wait_for(lambda: not any(Path(f"/proc/{orphan}").exists() for orphan in orphans), 20)

    def _kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _lives(pid), 20)

    def _command(self, words):
        return [sys.executable, "-m", "deploy.cli", "--config", str(self.network.settings_file), *words]

    def _cut_off(self, words, longest_s):
        process = subprocess.Popen(self._command(words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.wait(self.rng.uniform(0.2, longest_s))
        except subprocess.TimeoutExpired:
            process.kill()
        assert b"Traceback" not in process.communicate()[1]

    def _edgeward(self, *words):
        done = subprocess.run(self._command(words), capture_output=True, text=True, timeout=120, check=False)
        assert "Traceback" not in done.stderr
        return done


def _children_of(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _lives(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_whatever_is_killed_mends_by_restart_alone(network, tmp_path, fault_tools):
    processes_of, complaints_in = fault_tools
    rng = random.Random(SEED)
    killer = Killer(network, rng, tmp_path, processes_of)
    kinds = [killer.engine, killer.node, killer.node_mid_fetch, killer.origin, killer.store, killer.store_and_origin,
             killer.everything, killer.publisher, killer.pull]  # fmt: skip
    load = Load(network.origin_url)
    load.start()
    wait_for(lambda: load.answers_count > 0)
    killed = []
    deadline_s = time.monotonic() + KILLS_S
    while time.monotonic() < deadline_s:
        if len(killed) % len(kinds) == 0:  # every kind once before any comes again
            rng.shuffle(kinds)
        for _ in range(1 if rng.random() < 0.7 else 2):  # sometimes before the last is mended
            kill = kinds[len(killed) % len(kinds)]
            killed.append(kill.__name__)
            say(f"seed {SEED}: {kill.__name__}")
            kill()
            time.sleep(rng.uniform(0, 1))
        killer.mend()
        before_count = load.answers_count
        wait_for(lambda before_count=before_count: load.wrong or load.answers_count > before_count)
        assert not load.wrong
    load.stopping.set()
    load.join(CALL_LIMIT_S)
    say(f"{len(killed)} kills, {load.answers_count} answers, {len(load.refusals)} refusals")
    assert not load.is_alive()
    assert not load.wrong
    complaints = complaints_in(network.directory / "logs")
    assert not complaints, "\n".join(complaints)
    for site in (network.directory / "nodes").iterdir():
        # One directory for each release, nothing half done, nothing on its way out.
        assert sorted(path.parent.name for path in site.glob("models/*/*")) == ["chat", "embed"]
        assert not list((site / "trash").iterdir())
    network.stop()
    assert processes_of(network.directory) == {}
