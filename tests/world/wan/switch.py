"""The switch of the namespace WAN: a process that carries IPv4 packets between namespaces, late as far ones are.

Every host is a network namespace with one TUN device; this process reads each packet, holds it for half of the pair's
round trip and writes it to the other's device (not every kernel has netem). Started by `wan.Wan` with one JSON object
on stdin, then one command a line, each answered by a line. At the end of stdin everything is removed; what a switch
that was killed has left is removed by the next one, which knows it by the process id in the name.

Times come from `select`, whose grain is the microsecond, not from `epoll`, whose is the millisecond.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.world.wan import cpu_share

PREFIX = "ewan"
_NAMESPACES = Path("/var/run/netns")
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_QUEUE_S = 0.5
"""A slow line holds so much at most and drops the rest, as a router does."""
_BURST_COUNT = 64
_TCP = 6
_POST = b"POST /v"


def _run(*command):
    subprocess.run(command, check=True, capture_output=True)


def remove(name):
    """End what still runs in a namespace, and remove it."""
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    with contextlib.suppress(OSError):  # what was killed just now may not be gone yet
        cpu_share.remove(name)


def remove_stale():
    """Remove the namespaces of switches that are gone."""
    for path in _NAMESPACES.glob(f"{PREFIX}*n*") if _NAMESPACES.is_dir() else ():
        pid = path.name.removeprefix(PREFIX).partition("n")[0]
        if not pid.isdigit():
            continue
        try:
            ours = b"wan.switch" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            ours = False
        if not ours:
            remove(path.name)


def address_of(index):
    """Of the range for benchmarks (RFC 2544); each host in a /24 of its own, as networks of clients are."""
    return f"198.18.{index}.1"


def _open_tun(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(_NAMESPACES / namespace, os.O_RDONLY)
    try:
        if libc.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"wan0", _IFF_TUN_NO_PI))
    finally:
        if libc.setns(home, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "cannot come back from a namespace")
        os.close(there)
        os.close(home)
    return tun


class Switch:
    """Carries packets; what is broken is said by commands."""

    def __init__(self, rtt_ms, seed):
        count = len(rtt_ms)
        self.rtt_ms = rtt_ms
        self.names = [f"{PREFIX}{os.getpid()}n{index}" for index in range(count)]
        self.tuns = []
        self._index = {socket.inet_aton(address_of(index)): index for index in range(count)}
        self._chance = random.Random(seed)
        self._queue, self._number = [], 0
        self._last_s = [[0.0] * count for _ in range(count)]
        self._free_s = [0.0] * count
        self._down, self._cut, self._loss, self._bytes_per_s = set(), set(), {}, {}
        self._jitter_ms = 0.0
        self._posts, self._seen_posts = [], set()
        self.packets_count = self.dropped_count = 0

    def open(self):
        for index, name in enumerate(self.names):
            _run("ip", "netns", "add", name)
            self.tuns.append(_open_tun(name))
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "addr", "add", f"{address_of(index)}/32", "dev", "wan0")
            _run("ip", "-n", name, "link", "set", "wan0", "up", "txqueuelen", "5000")
            _run("ip", "-n", name, "route", "add", "198.18.0.0/15", "dev", "wan0")

    def close(self):
        for tun in self.tuns:
            os.close(tun)
        for name in self.names:
            remove(name)

    def command(self, message):
        """Do what a line says; gives the answer."""
        match message["do"]:
            case "down":
                (self._down.add if message["on"] else self._down.discard)(message["host"])
            case "cut":
                pairs = {(message["a"], message["b"]), (message["b"], message["a"])}
                self._cut = self._cut | pairs if message["on"] else self._cut - pairs
            case "loss":
                self._loss[message["host"]] = message["share"]
            case "bandwidth":
                self._bytes_per_s[message["host"]] = message["bytes_per_s"]
            case "rtt":
                a, b = message["a"], message["b"]
                self.rtt_ms[a][b] = self.rtt_ms[b][a] = message["rtt_ms"]
            case "jitter":
                self._jitter_ms = message["jitter_ms"]
            case "posts":
                posts, self._posts = self._posts, []
                return {"posts": posts, "packets": self.packets_count, "dropped": self.dropped_count}
            case unknown:
                return {"error": f"no command {unknown!r}"}
        return {}

    def take(self, source):
        """Read what a host sends, until there is no more."""
        for _ in range(_BURST_COUNT):
            try:
                packet = os.read(self.tuns[source], 65_535)
            except BlockingIOError:
                return
            target = self._index.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if target is not None:
                self._carry(source, target, packet, time.monotonic())

    def _carry(self, source, target, packet, now_s):
        self.packets_count += 1
        self._note_post(source, target, packet, now_s)
        lost = max(self._loss.get(source, 0.0), self._loss.get(target, 0.0))
        if self._broken(source, target) or (lost and self._chance.random() < lost):
            self.dropped_count += 1
            return
        due_s = now_s + self.rtt_ms[source][target] / 2000
        if self._jitter_ms:
            due_s += self._chance.expovariate(1000 / self._jitter_ms)
        for host in {source, target} & self._bytes_per_s.keys():
            if self._bytes_per_s[host]:
                self._free_s[host] = max(self._free_s[host], now_s) + len(packet) / self._bytes_per_s[host]
                if self._free_s[host] - now_s > _QUEUE_S:
                    self._free_s[host] -= len(packet) / self._bytes_per_s[host]
                    self.dropped_count += 1
                    return
                due_s += self._free_s[host] - now_s
        # A later packet of a pair does not overtake an earlier one, however the jitter falls.
        due_s = self._last_s[source][target] = max(due_s, self._last_s[source][target])
        self._number += 1
        heapq.heappush(self._queue, (due_s, self._number, source, target, packet))

    def _broken(self, source, target):
        return source in self._down or target in self._down or (source, target) in self._cut

    def _note_post(self, source, target, packet, now_s):
        """Requests are counted on the wire, where no client can forget one; what is sent again by TCP counts once."""
        if packet[9] != _TCP:
            return
        head = (packet[0] & 15) * 4
        body = head + (packet[head + 12] >> 4) * 4
        if packet[body : body + len(_POST)] != _POST:
            return
        key = packet[12:20] + packet[head : head + 8]
        if key not in self._seen_posts:
            self._seen_posts.add(key)
            path = packet[body + 5 : body + 80].split(b" ")[0].split(b"?")[0].decode("latin-1")
            self._posts.append((now_s, source, target, path))

    def deliver(self, now_s):
        """Write what is due; what is on its way to a host that went down is lost."""
        while self._queue and self._queue[0][0] <= now_s:
            _, _, source, target, packet = heapq.heappop(self._queue)
            if self._broken(source, target):
                self.dropped_count += 1
                continue
            with contextlib.suppress(OSError):  # a full device drops, as a network does
                os.write(self.tuns[target], packet)

    def wait_s(self, now_s):
        return min(1.0, max(0.0, self._queue[0][0] - now_s)) if self._queue else 1.0


def _serve(switch):
    hosts = {tun: index for index, tun in enumerate(switch.tuns)}
    stdin, rest = sys.stdin.fileno(), b""
    while True:
        ready, _, _ = select.select([*hosts, stdin], [], [], switch.wait_s(time.monotonic()))
        for found in ready:
            if found != stdin:
                switch.take(hosts[found])
                continue
            read = os.read(stdin, 65_536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                sys.stdout.write(json.dumps(switch.command(json.loads(line))) + "\n")
                sys.stdout.flush()
        switch.deliver(time.monotonic())


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(OSError):
        os.nice(-15)  # a late switch would be a longer way
    remove_stale()
    first = json.loads(sys.stdin.buffer.raw.readline())
    switch = Switch(first["rtt_ms"], first["seed"])
    try:
        switch.open()
        sys.stdout.write(json.dumps({"names": switch.names}) + "\n")
        sys.stdout.flush()
        _serve(switch)
    finally:
        switch.close()


if __name__ == "__main__":
    main()
