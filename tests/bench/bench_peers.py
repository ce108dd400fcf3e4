"""How many copies of a release an origin sends when eight nodes begin to pull it at the same moment.

    python tests/bench/bench_peers.py [--quick] [--json FILE]

Everything on the way is real (origin, HTTP, nodes' fronts, fetch, disk); only the engines are missing. The peer in
this run is the same pull by nodes that know of no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent))

from bench_report import arguments, finish

from edge_node.api.health import NodeStatus
from edge_node.install import install
from edge_node.model_store import ModelStore
from edge_node.peers import Exchange
from edge_node.scheduler import Scheduler
from edge_node.server import NodeParts, build_app
from edge_node.supervisor import Clock
from edge_node.telemetry import Metrics
from edge_node.trust import NodeTrust
from origin.api import NodeReport
from origin.client import OriginClient
from origin.config import OriginConfig
from origin.daemon import running_origin
from registry.catalog import Catalog
from registry.log import configure_logging
from registry.progress import ignore_progress
from registry.publish import publish
from registry.trust.in_memory import signed_in_memory

NODES_COUNT = 8


class Node:
    """A node without engines: its front, its disk, and its word to the origin."""

    def __init__(self, node_id, directory, origin, *, alone):
        self.node_id = node_id
        self.exchange = Exchange(node_id)
        self.store = ModelStore(directory / node_id)
        self.origin = origin
        self.trust = NodeTrust(
            source=origin, data_dir=directory / node_id, trusted_root=None, takes_first_root=True,
            channel="stable", clock=Clock(now_s=time.monotonic, sleep=asyncio.sleep), now_unix_s=time.time,
        )  # fmt: skip
        self.url = ""
        self.alone = alone

    async def serve(self, ends):
        self.store.data_dir.mkdir(parents=True)
        self.store.open()
        ends.callback(self.store.close)
        parts = NodeParts(
            node_id=self.node_id,
            residents=None,
            scheduler=Scheduler(queue_limit_count=1),
            metrics=Metrics(node_id=self.node_id, software="bench"),
            status=lambda: NodeStatus(
                draining=False, models=(), origin_up=True, origin_age_s=0.0, channel="stable"
            ),
            shelf=self.exchange.shelf,
        )
        runner = web.AppRunner(build_app(parts))
        await runner.setup()
        ends.push_async_callback(runner.cleanup)
        ends.push_async_callback(self.exchange.book.close)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def report(self):
        directive = await self.origin.report(NodeReport(node_id=self.node_id, incarnation=1, url=self.url))
        if not self.alone:
            self.exchange.book.heard(directive.peers)
        return directive.wanted

    async def pull(self, wanted):
        async def nothing():
            raise AssertionError("nothing is to be evicted")

        began_s = time.monotonic()
        installed = await install(
            wanted, source=self.origin, trust=self.trust, store=self.store, local=(), evict=nothing,
            progress=ignore_progress,
            concurrency_count=4, neighbours=self.exchange.neighbours(wanted.manifest_sha256),
        )  # fmt: skip
        return {
            "node": self.node_id,
            "origin_bytes": installed.fetched_bytes,
            "peer_bytes": installed.peer_bytes,
            "took_s": round(time.monotonic() - began_s, 3),
        }


async def measure(store, directory, *, alone):
    """One start of all nodes together; what each of them took from where."""
    config = OriginConfig(port=0, heartbeat_s=5.0, catalog_refresh_s=60.0)
    async with contextlib.AsyncExitStack() as ends:
        url = await ends.enter_async_context(running_origin(config, store))
        origin = await ends.enter_async_context(OriginClient(url))
        nodes = [
            Node(f"node-{number}", directory, origin, alone=alone) for number in range(1, NODES_COUNT + 1)
        ]
        for node in nodes:
            await node.serve(ends)
        while not await nodes[0].report():  # noqa: ASYNC110  # the catalog is read in the background
            await asyncio.sleep(0.05)
        for node in nodes:
            await node.report()
        wanted = [await node.report() for node in nodes]
        return await asyncio.gather(
            *(node.pull(releases[0]) for node, releases in zip(nodes, wanted, strict=True))
        )


def model(directory, *, quick):
    """The real sample model where it is there, else random bytes."""
    found = sorted((Path(sys.prefix) / "share/edgeward/models/smollm2").glob("*.gguf"))
    if found and not quick:
        return found[0]
    import random

    path = directory / "random.bin"
    path.write_bytes(random.Random(1).randbytes((24 if quick else 96) * 2**20))
    return path


def main():
    args = arguments(__doc__)
    configure_logging(service="bench", level="error")
    figures, runs = {}, []
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        store = signed_in_memory()
        path = model(directory, quick=args.quick)
        # A file without a format would be refused by the nodes: their engines serve GGUF and ONNX.
        if path.suffix == ".bin":
            path = gguf_around(path)
        publish(path, name="chat", version="1", store=store, created_unix_s=1)
        copy_bytes = Catalog(store).manifest("chat", "1")[1].stored_bytes
        results = {}
        for name, alone in (("together", False), ("alone", True)):
            samples = []
            for number in range(1 if args.quick else 3):
                nodes = asyncio.run(measure(store, directory / f"{name}-{number}", alone=alone))
                copies = sum(node["origin_bytes"] for node in nodes) / copy_bytes
                slowest_s = max(node["took_s"] for node in nodes)
                samples.append((copies, slowest_s))
                runs.append(
                    {"way": name, "copies_ratio": round(copies, 3), "slowest_s": slowest_s, "nodes": nodes}
                )
            results[name] = {
                "origin_copies_ratio": round(max(copies for copies, _ in samples), 3),
                "slowest_node_s": min(slowest for _, slowest in samples),
            }
        figures = results["together"] | {"release_stored_bytes": copy_bytes, "nodes_count": NODES_COUNT}
    return finish(
        args.json,
        figures=figures,
        required={"origin_copies_ratio": ("<=", 1.3)},
        packages=("aiohttp", "zstandard"),
        runs=runs,
        peers={"nodes that know of no others": results["alone"]},
    )


def gguf_around(path):
    """The bytes of a file as the one tensor of a GGUF file."""
    import struct

    data = path.read_bytes()
    text = b"general.architecture"
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    head += struct.pack("<Q", len(text)) + text + struct.pack("<IQ", 8, 5) + b"llama"
    head += struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, len(data) // 4, 0, 0)
    target = path.with_suffix(".gguf")
    target.write_bytes(head + bytes(-len(head) % 32) + data)
    return target


if __name__ == "__main__":
    sys.exit(main())
