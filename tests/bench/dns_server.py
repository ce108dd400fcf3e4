"""The DNS door over a fleet of 200 nodes that go on reporting, in a process of its own; run as a script.

    python tests/bench/dns_server.py '{"nodes": 200, "changes": false}'

prints the port and serves until its standard input ends. With `changes` one node leaves or comes back each second, so
that nothing that was kept lives longer than that.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parent))
from dns_load import questions

from origin.api import CatalogAnswer, ModelReport, NodeReport, Place
from origin.dns.door import Door, Located
from origin.dns.listening import listening
from origin.dns.rate import RateLimit
from origin.dns.records import Zone
from origin.dns.serving import Serving
from origin.dns_settings import NameServer
from origin.fleet import Fleet, FleetRules
from origin.geo.client_spot import ClientSpot
from origin.geo.network import Network
from origin.telemetry import Telemetry

SCOPE_BITS = 20
CITIES_COUNT = 300


def place(chance):
    return Place(chance.uniform(-55, 65), chance.uniform(-180, 180))


class Knowing:
    """A fleet of made-up nodes, and a map on which each /20 lies in one of 300 cities."""

    def __init__(self, nodes_count):
        chance = random.Random(3)
        self.fleet = Fleet(FleetRules())
        self.round_trips = Network()
        self.reports = [
            NodeReport(
                node_id=f"node-{number}", incarnation=1, url=f"http://192.0.2.{number % 250}:7710",
                place=place(chance), addresses=(f"192.0.2.{number % 250}", f"2001:db8::{number:x}"),
                models=(ModelReport(name="chat", version="1.0", state="ready", slots=4, service_s=0.5),),
            )
            for number in range(nodes_count)
        ]  # fmt: skip
        self.located = [Located(ClientSpot(place=place(chance)), SCOPE_BITS) for _ in range(CITIES_COUNT)]
        self.releases = CatalogAnswer(releases=(), channels={"chat": {"stable": "1.0"}})

    def view(self, now_s):
        return self.fleet.view(now_s)

    def catalog(self):
        return self.releases

    def network(self):
        return self.round_trips

    def locate(self, network, now_s):
        number = int(network.network_address) >> (network.max_prefixlen - SCOPE_BITS)
        return self.located[number * 2_654_435_761 % CITIES_COUNT]

    async def report(self, changes):
        """Every node's heartbeat each second; the first one drains every other second where changes are wanted."""
        for second in range(10**9):
            for number, report in enumerate(self.reports):
                if changes and number == 0:
                    report = msgspec.structs.replace(report, draining=bool(second % 2))  # noqa: PLW2901
                self.fleet.accept(report, time.monotonic())
            await asyncio.sleep(1.0)


async def serve(wanted):
    knowing = Knowing(wanted["nodes"])
    reporting = asyncio.create_task(knowing.report(wanted["changes"]))
    await asyncio.sleep(0)
    zone = Zone("route.example.org", (NameServer("ns1.route.example.org", ("127.0.0.1",)),))
    door = Door(zone, knowing, keep_s=3600)
    for asked in questions(
        "known", 20_000
    ):  # every client was seen once: how long that takes is no part of the pace
        door.answer(b"\0\0" + asked, b"\x7f\0\0\1", time.monotonic(), stream=False)
    serving = Serving(door, RateLimit(10**9), Telemetry(), time.monotonic)
    gc.freeze()
    async with listening(("127.0.0.1",), 0, serving) as bound:
        print(bound[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    reporting.cancel()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(serve(json.loads(sys.argv[1])))
