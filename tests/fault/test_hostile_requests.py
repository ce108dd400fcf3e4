"""Requests that mean harm against a real node: it answers, or refuses with 4xx or 503, and loses nothing.

So too while its engines are killed. 400 requests of each kind by default; EDGEWARD_HOSTILE_COUNT=10000 for the long run
(`-rP` shows what came of it). Schemathesis runs in an environment of its own, and is skipped where that cannot be made.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import structlog

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from tests.fault.engine_killer import EngineKiller, engines_of
from tests.fault.hostile_requests import CHAT, one_request

log = structlog.get_logger()
pytestmark = pytest.mark.fault

DRIVER = Path(__file__).parent / "drivers" / "by_schema.py"
COUNT = int(os.environ.get("EDGEWARD_HOSTILE_COUNT", "400"))
CALLERS_COUNT = 16
LEFT_WITHIN_S = 2.0
MENDED_WITHIN_S = 2.0
"""The median of all deaths, on a machine with a core for whoever wants one; with n at each core, n times that."""
GROWTH_LIMIT_BYTES = 150 * 2**20
FILES_GROWTH_LIMIT_COUNT = 16


@pytest.fixture(scope="module")
def network(tmp_path_factory, start_network):
    network = LocalNetwork(tmp_path_factory.mktemp("hostile"), free_ports(1, start_port=26_000))
    try:
        start_network(network, SITES[:1])
        for number in range(8):
            plain_answer(network.ports.node(0), number)
        yield network
    finally:
        network.stop()


class Held:
    """What a node's process holds at a moment."""

    def __init__(self, network):
        [child] = network._nodes.values()
        status = Path(f"/proc/{child.pid}/status").read_text()
        self.bytes = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
        self.threads_count = int(re.search(r"Threads:\s+(\d+)", status)[1])
        self.files_count = len(list(Path(f"/proc/{child.pid}/fd").iterdir()))

    def __str__(self):
        return f"{self.bytes >> 20} MiB, {self.files_count} files, {self.threads_count} threads"


def node_pid(network):
    [child] = network._nodes.values()
    return child.pid


def metric_sum(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def plain_answer(port, number=0):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(CHAT | {"seed": number}).encode(),
        {"Content-Type": "application/json", "Cache-Control": "no-store"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["choices"][0]


def hostile_hour(port, count, seed):
    """Many callers at once; the number of each status, None for those who did not wait for one."""
    seen, bad, left = Counter(), [], iter(range(count))
    lock = threading.Lock()

    def call():
        while True:
            with lock:
                number = next(left, None)
            if number is None or bad:
                return
            status = one_request(port, random.Random(f"{seed} {number}"))
            with lock:
                seen[status] += 1
                if status is not None and status >= 500 and status != 503:
                    bad.append((number, status))

    callers = [threading.Thread(target=call) for _ in range(CALLERS_COUNT)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not bad, bad
    log.info("requests.outlived", seen=dict(seen))
    return seen


def by_schemathesis(network, python):
    url = f"http://127.0.0.1:{network.ports.node(0)}"
    command = [python, "-P", DRIVER, url, str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + 2 * COUNT, check=False)
    assert done.stdout.strip().endswith("outlived"), f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    log.info("schemathesis.outlived", seen=done.stdout.strip().splitlines()[-2])


def test_a_node_outlives_hostile_requests(network):
    before = Held(network)
    seen = hostile_hour(network.ports.node(0), COUNT, 1)
    assert {200, 400, 413} <= seen.keys(), seen
    check_unharmed(network, before)
    check_no_engine_died(network)


def test_a_node_outlives_what_schemathesis_makes_of_its_document(network, environment_with):
    python = environment_with("schemathesis")
    before = Held(network)
    by_schemathesis(network, python)
    check_unharmed(network, before)
    check_no_engine_died(network)


@pytest.mark.parametrize("kind", ["hostile", "schemathesis"])
def test_it_does_so_while_its_engines_are_killed(network, environment_with, kind):
    port, before = network.ports.node(0), Held(network)
    with EngineKiller(node_pid(network), port, random.Random(2)) as killer:
        if kind == "hostile":
            hostile_hour(port, COUNT, 2)
        else:
            by_schemathesis(network, environment_with("schemathesis"))
    log.info(
        "engines.mended",
        **{name: sorted(round(it_s, 2) for it_s in all_s) for name, all_s in killer.mended_s.items()},
    )
    assert not killer.unmended
    check_unharmed(network, before)
    mended_s = [it_s for all_s in killer.mended_s.values() for it_s in all_s]
    assert mended_s, "no engine was killed"
    wanting = max(1.0, os.getloadavg()[1] / (os.cpu_count() or 1))
    assert statistics.median(mended_s) < MENDED_WITHIN_S * wanting


def check_unharmed(network, before):
    port = network.ports.node(0)
    # What those who went away have left ends soon: no slot is lost.
    deadline_s = time.monotonic() + LEFT_WITHIN_S
    while metric_sum(port, "edge_requests_running") + metric_sum(port, "edge_requests_waiting"):
        assert time.monotonic() < deadline_s, "requests are left behind"
        time.sleep(0.05)
    assert plain_answer(port)["finish_reason"] in {"stop", "length"}
    assert "request.failed" not in log_of(network)
    assert sorted(engines_of(node_pid(network)).values()) == ["chat@1.0.0", "embed@1.0.0"]
    after = Held(network)
    log.info("node.outlived", before=str(before), after=str(after))
    assert after.bytes - before.bytes < GROWTH_LIMIT_BYTES
    assert after.files_count - before.files_count < FILES_GROWTH_LIMIT_COUNT


def check_no_engine_died(network):
    assert "engine.died" not in log_of(network)


def log_of(network):
    return next(iter(network._nodes.values())).log_file.read_text()
