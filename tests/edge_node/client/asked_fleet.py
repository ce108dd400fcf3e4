"""A fleet of faulty nodes, a blind origin and a client that asks them, for the time of one test.

All of it goes by the clock of the test's event loop.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from edge_node.client import AsyncClient, ClientConfig
from tests.edge_node.client.faulty_fleet import BlindOrigin, FaultyNode


@asynccontextmanager
async def fleet(*names, shown=4, **config):
    nodes = {name: FaultyNode(name) for name in names}
    for node in nodes.values():
        await node.start()
    origin = BlindOrigin(list(nodes.values()), shown=shown)
    await origin.start()
    try:
        async with AsyncClient(config=ClientConfig(origin=(origin.url,), timeout_s=30.0, **config)) as client:
            session_of(client).now_s = now_s
            yield nodes, origin, client
    finally:
        for node in nodes.values():
            await node.stop()
        await origin.stop()


async def ask(client):
    began_s = now_s()
    answer = await client.chat("x", model="chat")
    return answer.served, now_s() - began_s


async def until(condition):
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about within 2 s")


def now_s():
    return asyncio.get_running_loop().time()


def session_of(client):
    return client._connected()[1]
