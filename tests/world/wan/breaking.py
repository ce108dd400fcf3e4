"""Carries out a plan of faults on a fleet: breaks and mends at the moments that were drawn, and keeps what it did."""

from __future__ import annotations

import heapq
import random
import signal
import time

from tests.world.wan.fleet import HUB

CRAWL_PERIOD_S, CRAWL_STOPPED_SHARE = 0.5, 0.8
FLAP_S = (0.3, 2.5)
THIN_BYTES_PER_S = 4_000
LOSSY_SHARE = 0.25


class Breaker:
    """`run` returns when the last fault has been mended; everything happens on the caller's thread."""

    def __init__(self, fleet, faults, *, seed):
        self.fleet, self.wan = fleet, fleet.wan
        self.faults = faults
        self.mended = []
        self._chance = random.Random(seed)
        self._moments = []
        self._order = 0
        self._stopped = set()

    def run(self, began_s, ends_s, *, watch=lambda _now_s: None):
        """Follow the plan from `began_s` on (monotonic); `watch` is called about once a second."""
        for fault in self.faults:
            self._at(began_s + fault.at_s, self._break, fault, began_s + fault.at_s + fault.length_s)
        watched_s = 0.0
        while (now_s := time.monotonic()) < ends_s:
            while self._moments and self._moments[0][0] <= now_s:
                _, _, act, arguments = heapq.heappop(self._moments)
                act(*arguments)
            if now_s - watched_s >= 1.0:
                watched_s = now_s
                watch(now_s)
            next_s = self._moments[0][0] if self._moments else ends_s
            time.sleep(max(0.0, min(next_s, ends_s, now_s + 0.5) - time.monotonic()))

    def _at(self, at_s, act, *arguments):
        self._order += 1
        heapq.heappush(self._moments, (at_s, self._order, act, arguments))

    def _break(self, fault, until_s):
        for host in fault.hosts:
            getattr(self, f"_{fault.kind}")(host, until_s)

    def _mended(self, host, kind):
        self.mended.append((time.monotonic(), host, kind))

    def _kill(self, host, until_s):
        self.fleet.signal(host, signal.SIGKILL)
        self.fleet.children[host].kill()
        self._at(until_s, self._start_again, host)

    def _start_again(self, host):
        self.fleet.start(host)
        self._mended(host, "kill")

    def _dark(self, host, until_s, kind="dark"):
        self.wan.down(host)
        self._at(until_s, self._light, host, kind)

    def _light(self, host, kind):
        self.wan.down(host, on=False)
        self._mended(host, kind)

    def _hang(self, host, until_s):
        self.fleet.signal(host, signal.SIGSTOP)
        self._at(until_s, self._go_on, host, "hang")

    def _go_on(self, host, kind):
        self.fleet.signal(host, signal.SIGCONT)
        self._mended(host, kind)

    def _crawl(self, host, until_s):
        now_s = time.monotonic()
        if now_s >= until_s - CRAWL_PERIOD_S:
            self._go_on(host, "crawl")
            return
        self.fleet.signal(host, signal.SIGSTOP)
        self._at(now_s + CRAWL_PERIOD_S * CRAWL_STOPPED_SHARE, self.fleet.signal, host, signal.SIGCONT)
        self._at(now_s + CRAWL_PERIOD_S, self._crawl, host, until_s)

    def _thin(self, host, until_s):
        self.wan.bandwidth(host, THIN_BYTES_PER_S)
        self._at(until_s, self._thick, host)

    def _thick(self, host):
        self.wan.bandwidth(host, None)
        self._mended(host, "thin")

    def _lossy(self, host, until_s):
        self.wan.loss(host, LOSSY_SHARE)
        self._at(until_s, self._lossless, host)

    def _lossless(self, host):
        self.wan.loss(host, 0.0)
        self._mended(host, "lossy")

    def _flap(self, host, until_s):
        now_s = time.monotonic()
        if now_s >= until_s:
            self._light(host, "flap")
            return
        self.wan.down(host)
        back_s = min(until_s, now_s + self._chance.uniform(*FLAP_S))
        self._at(back_s, self.wan.down, host, False)
        self._at(min(until_s, back_s + self._chance.uniform(*FLAP_S)), self._flap, host, until_s)

    def _astray(self, host, until_s):
        for origin in self.fleet.origins:
            self.wan.cut(host, origin)
        self._at(until_s, self._join, host, self.fleet.origins, "astray")

    def _half(self, host, until_s):
        others = [name for name in self.fleet.hosts if name not in {host, HUB}][::2]
        for other in others:
            self.wan.cut(host, other)
        self._at(until_s, self._join, host, others, "half")

    def _join(self, host, others, kind):
        for other in others:
            self.wan.cut(host, other, on=False)
        self._mended(host, kind)
