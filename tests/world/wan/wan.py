"""Wan: hosts with real TCP/IP stacks at real distances, on one machine, for as long as a `with` block lasts.

Needs root and /dev/net/tun; `missing` says what is not there. Hosts have no way out of the WAN.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local.child import start_child
from tests.world.wan.switch import address_of

ROOT = Path(__file__).resolve().parents[3]


def missing():
    """Why there can be no WAN here; an empty text where there can."""
    if sys.platform != "linux":
        return "namespaces need Linux"
    if os.geteuid() != 0:
        return "namespaces need root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no /dev/net/tun"
    return "" if shutil.which("ip") else "no iproute2"


class Wan:
    """`rtt_ms[a][b]` between hosts, by the order of `names`; all of it can be changed while packets flow."""

    def __init__(self, names, rtt_ms, *, seed=1):
        self.names = tuple(names)
        self._rtt_ms, self._seed = rtt_ms, seed
        self._index = {name: index for index, name in enumerate(self.names)}
        self._process = None
        self._namespaces = ()

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.world.wan.switch"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        first = {"rtt_ms": [list(row) for row in self._rtt_ms], "seed": self._seed}
        self._namespaces = self._ask(first)["names"]
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    @property
    def switch_pid(self):
        return self._process.pid

    def address(self, name):
        return address_of(self._index[name])

    def namespace(self, name):
        return self._namespaces[self._index[name]]

    def start(self, host, name, command, *, log_file, environ=None, cwd=ROOT):
        """Start a process at a host; see `deploy.local.child`."""
        inside = ["ip", "netns", "exec", self.namespace(host), *map(str, command)]
        return start_child(name, inside, log_file=log_file, environ=environ or {}, cwd=cwd)

    def run(self, host, *command, timeout_s=30):
        """What a program prints at a host."""
        inside = ["ip", "netns", "exec", self.namespace(host), *map(str, command)]
        return subprocess.run(
            inside, capture_output=True, text=True, check=True, timeout=timeout_s, cwd=ROOT
        ).stdout

    def down(self, host, on=True):
        """Black-hole a host: nothing comes in or out, and nobody is told."""
        self._do("down", host=self._index[host], on=on)

    def cut(self, a, b, on=True):
        """Black-hole one pair."""
        self._do("cut", a=self._index[a], b=self._index[b], on=on)

    def loss(self, host, share):
        self._do("loss", host=self._index[host], share=share)

    def bandwidth(self, host, bytes_per_s):
        """What a host's line carries, both ways together; None is without limit."""
        self._do("bandwidth", host=self._index[host], bytes_per_s=bytes_per_s)

    def rtt(self, a, b, rtt_ms):
        self._do("rtt", a=self._index[a], b=self._index[b], rtt_ms=rtt_ms)

    def jitter(self, jitter_ms):
        """The mean of what is added to every way, exponentially distributed."""
        self._do("jitter", jitter_ms=jitter_ms)

    def posts(self):
        """The POSTs seen since the last call: (monotonic s, from, to, path), those into nothing included."""
        given = self._do("posts")["posts"]
        return [(at_s, self.names[source], self.names[target], path) for at_s, source, target, path in given]

    def _do(self, verb, **arguments):
        answer = self._ask({"do": verb, **arguments})
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def _ask(self, message):
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the switch has ended; what it said is on stderr")
        return json.loads(line)
