"""The WAN itself: round trips as wanted, what is broken is broken, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.world.wan.wan import Wan, missing

pytestmark = [pytest.mark.world, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

_LISTEN = """
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], 9)); s.listen(50)
while True:
    c, _ = s.accept(); c.close()
"""
_CONNECT = """
import json, socket, sys, time
took_ms = []
for _ in range(int(sys.argv[3])):
    s = socket.socket(); s.settimeout(float(sys.argv[2])); began_s = time.monotonic()
    try:
        s.connect((sys.argv[1], 9)); took_ms.append((time.monotonic() - began_s) * 1000)
    except TimeoutError:
        took_ms.append(None)
    s.close()
print(json.dumps(took_ms))
"""
RTT_MS = [[0, 10, 80], [10, 0, 250], [80, 250, 0]]


def connects_ms(wan, source, target, *, within_s=2.0, count=3):
    printed = wan.run(source, sys.executable, "-c", _CONNECT, wan.address(target), within_s, count)
    return json.loads(printed)


@pytest.fixture
def wan(tmp_path):
    with Wan(("a", "b", "c"), RTT_MS) as wan:
        children = [
            wan.start(
                name, name, [sys.executable, "-c", _LISTEN, wan.address(name)], log_file=tmp_path / name
            )
            for name in wan.names
        ]
        for name in wan.names:
            ends_s = time.monotonic() + 20
            while not reachable(wan, name) and time.monotonic() < ends_s:
                pass
        yield wan
        for child in children:
            child.kill()


def reachable(wan, name):
    other = next(one for one in wan.names if one != name)
    try:
        return connects_ms(wan, other, name, count=1)[0] is not None
    except subprocess.CalledProcessError:
        return False


def test_connections_take_the_wanted_round_trip(wan):
    late_ms = {}
    for a, source in enumerate(wan.names):
        for b, target in enumerate(wan.names):
            if a != b:
                took_ms = statistics.median(connects_ms(wan, source, target, count=9))
                late_ms[source + target] = took_ms - RTT_MS[a][b]
    assert all(0 <= late <= 5 for late in late_ms.values()), late_ms


def test_what_is_broken_is_broken_and_heals(wan):
    wan.cut("a", "b")
    assert connects_ms(wan, "a", "b", within_s=0.5, count=1) == [None]
    assert None not in connects_ms(wan, "a", "c", count=1)
    wan.cut("a", "b", on=False)
    assert None not in connects_ms(wan, "a", "b", count=1)
    wan.down("c")
    assert connects_ms(wan, "a", "c", within_s=0.5, count=1) == [None]
    wan.down("c", on=False)
    wan.rtt("a", "b", 150)
    assert 150 <= statistics.median(connects_ms(wan, "a", "b")) <= 155
    wan.loss("b", 1.0)
    assert connects_ms(wan, "a", "b", within_s=0.5, count=1) == [None]


def test_nothing_stays_behind(tmp_path):
    with Wan(("a", "b"), [[0, 5], [5, 0]]) as wan:
        namespaces = [wan.namespace(name) for name in wan.names]
        sleeper = wan.start("a", "sleeper", ["sleep", "1000"], log_file=tmp_path / "log")
        os.kill(wan.switch_pid, signal.SIGKILL)
    assert all(Path("/var/run/netns", name).exists() for name in namespaces), "killed, it removes nothing"
    with Wan(("a", "b"), [[0, 5], [5, 0]]) as wan:
        assert not any(Path("/var/run/netns", name).exists() for name in namespaces), "the next one does"
        assert sleeper.process.wait(5) == -signal.SIGKILL
        namespaces = [wan.namespace(name) for name in wan.names]
    assert not any(Path("/var/run/netns", name).exists() for name in namespaces)
