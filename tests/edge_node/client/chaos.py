"""A client under load while its nodes are killed, hung, darkened, slowed and made to fail at random, from a seed."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from edge_node.client import AsyncClient, ClientConfig
from registry.errors import EdgewardError
from tests.edge_node.client.faulty_fleet import BlindOrigin, FaultyNode

FAULTS = ("down", "dark", "hang", "reset", "error", "busy", "slow")


@dataclass
class Tally:
    """What came of it; times in seconds, of calls that needed another node."""

    calls_count: int = 0
    asked_count: int = 0
    failures: list[str] = field(default_factory=list)
    failovers_s: list[float] = field(default_factory=list)
    faults_count: int = 0

    @property
    def extra_share(self) -> float:
        return (self.asked_count - self.calls_count) / max(1, self.calls_count)

    def quantile_s(self, share: float) -> float:
        times_s = sorted(self.failovers_s)
        return times_s[min(len(times_s) - 1, int(share * len(times_s)))] if times_s else 0.0


async def chaos(
    seed, *, length_s, nodes_count=6, workers_count=8, faults=FAULTS, origin_goes=False, warm_s=1.0
):
    """Run it; one node, ranked third or worse, stays well; the others fail for 1 to 6 s with 1 to 6 s between."""
    chance = random.Random(seed)
    well = chance.randrange(2, nodes_count)
    nodes = [FaultyNode(f"n{i}", delay_s=0.01) for i in range(nodes_count)]
    for node in nodes:
        await node.start()
    origin = BlindOrigin(nodes, ttl_s=4.0)
    await origin.start()
    tally = Tally()
    async with AsyncClient(config=ClientConfig(origin=(origin.url,), timeout_s=30.0)) as client:
        await client.chat("x", model="chat")
        ends_s = time.monotonic() + warm_s
        while time.monotonic() < ends_s:
            await client.chat("x", model="chat")
        before = sum(node.asked_count for node in nodes)
        ends_s = time.monotonic() + length_s
        spoilers = [
            asyncio.create_task(_spoil(node, random.Random(chance.random()), faults, tally))
            for node in nodes
            if node is not nodes[well]
        ]
        if origin_goes:
            spoilers.append(asyncio.create_task(_flicker(origin, random.Random(chance.random()))))
        await asyncio.gather(*(_work(client, tally, ends_s) for _ in range(workers_count)))
        for spoiler in spoilers:
            spoiler.cancel()
        tally.asked_count = sum(node.asked_count for node in nodes) - before
    for node in nodes:
        await node.stop()
    await origin.stop()
    return tally


async def _work(client, tally, ends_s):
    while time.monotonic() < ends_s:
        began_s = time.monotonic()
        tally.calls_count += 1
        try:
            served = (await client.chat("x", model="chat")).served
        except EdgewardError as error:
            tally.failures.append(f"{type(error).__name__}: {error.message}")
        else:
            if served.attempts > 1:
                tally.failovers_s.append(time.monotonic() - began_s)


async def _spoil(node, chance, faults, tally):
    while True:
        await asyncio.sleep(chance.uniform(1, 6))
        tally.faults_count += 1
        await node.set(chance.choice(faults))
        await asyncio.sleep(chance.uniform(1, 6))
        await node.set("ok")


async def _flicker(origin, chance):
    while True:
        await asyncio.sleep(chance.uniform(2, 5))
        origin.up = not origin.up
