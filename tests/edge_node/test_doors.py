"""A real origin and two real nodes with scripted engines: a request finds the node that answers first."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest

from edge_node.client import AsyncClient
from edge_node.config import NodeConfig
from edge_node.running import running_node
from origin.config import OriginConfig
from origin.daemon import running_origin
from origin.geo import choose
from tests.edge_node.scripted_node import ScriptedEngines
from tests.edge_node.scripted_registry import Registry

NEAR, FAR = "50.11,8.68", "48.86,2.35"
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}


class Network:
    """An origin, a node in Frankfurt and one in Paris, and requests that never end to fill them."""

    def __init__(self, ends):
        self.ends = ends
        self.nodes, self.engines, self.fillers = {}, {}, []

    async def start(self, registry, tmp_path):
        root = tmp_path / "root.json"
        root.write_bytes(registry.root)
        origin = OriginConfig(port=0, heartbeat_s=0.05, catalog_refresh_s=0.05)
        self.origin_url = await self.ends.enter_async_context(running_origin(origin, registry.store))
        self.http = await self.ends.enter_async_context(aiohttp.ClientSession())
        for name, place in (("near", NEAR), ("far", FAR)):
            config = NodeConfig(
                port=0,
                origin=(self.origin_url,),
                data_dir=tmp_path / name,
                place=place,
                node_id=name,
                trusted_root=root,
            )
            engines = self.engines[name] = ScriptedEngines()
            node = await self.ends.enter_async_context(running_node(config, build=engines))
            self.nodes[name] = node
        async with asyncio.timeout(20):
            while await self.ready_count() < 2:  # noqa: ASYNC110  # what is seen over HTTP gives no event
                await asyncio.sleep(0.02)

    async def ready_count(self):
        # Not by asking for a route: the origin would count that as a request on its way.
        models = [model for view in await self.listed() for model in view["report"]["models"]]
        return sum(model["state"] == "ready" for model in models)

    async def listed(self):
        async with self.http.get(f"{self.origin_url}/v1/nodes") as reply:
            return (await reply.json())["nodes"]

    async def sent_to(self, **changes):
        """The URL that the origin's OpenAI path sends a chat to."""
        url = f"{self.origin_url}/v1/chat/completions?place={NEAR}"
        async with self.http.post(url, json={**CHAT, **changes}, allow_redirects=False) as reply:
            assert reply.status == 307
            return reply.headers["Location"]

    async def fill(self, name, count=10):
        """Give a node more work than it can do at once, after one request from which it learns how long they take."""
        url = f"{self.nodes[name].url}/v1/chat/completions"
        async with self.http.post(url, json=CHAT) as reply:
            assert reply.status == 200
        self.engines[name].work_gate = asyncio.Event()
        before_count = len(self.engines[name].made[0].commands)
        for number in range(count):
            body = {**CHAT, "seed": number}
            self.fillers.append(asyncio.create_task(self._post(url, body)))
        async with asyncio.timeout(20):
            while len(self.engines[name].made[0].commands) < before_count + count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _post(self, url, body):
        async with self.http.post(url, json=body) as reply:
            return reply.status

    async def chat(self, url, **changes):
        async with self.http.post(url, json={**CHAT, **changes}) as reply:
            await reply.read()
            return reply

    async def page(self, name):
        async with self.http.get(f"{self.nodes[name].url}/metrics") as reply:
            return await reply.text()


@pytest.fixture
async def network(scripted_origin, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "EXPLORED_SHARE", 0.0)  # one request in a hundred would go to the worse node
    registry = Registry(scripted_origin)
    registry.publish("chat", "1", [b"a" * 50_000])
    async with AsyncExitStack() as ends:
        running = Network(ends)
        try:
            await running.start(registry, tmp_path)
            yield running
        finally:
            for filler in running.fillers:
                filler.cancel()
            await asyncio.gather(*running.fillers, return_exceptions=True)


async def test_the_near_node_answers_and_when_it_is_loaded_the_far_one(network):
    url = await network.sent_to()
    assert url.startswith(network.nodes["near"].url)
    assert (await network.chat(url)).headers["x-edgeward-node"] == "near"
    await network.fill("near")
    moved = await network.chat(url)
    assert (moved.status, moved.headers["x-edgeward-node"]) == (200, "far")
    assert moved.history[0].headers["x-edgeward-handed-on"].startswith("busy")
    assert 'edge_requests_handed_on_total{reason="busy"} 1.0' in await network.page("near")


async def test_the_fleet_says_how_many_were_handed_on(network):
    url = await network.sent_to()
    await network.fill("near")
    await network.chat(url)
    async with asyncio.timeout(20):
        while True:
            counts = {
                view["report"]["node_id"]: view["report"]["handed_on"] for view in await network.listed()
            }
            if counts["near"]:
                break
            await asyncio.sleep(0.02)
    assert counts == {"near": {"busy": 1}, "far": {}}


async def test_both_loaded_nobody_goes_in_circles(network):
    url = await network.sent_to()
    await network.fill("near")
    await network.fill("far")
    asked = asyncio.create_task(network.chat(url))
    async with asyncio.timeout(20):
        handed_on = 'edge_requests_handed_on_total{reason="busy"} 1.0'
        while handed_on not in await network.page("near"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for engines in network.engines.values():
        engines.work_gate.set()
    reply = await asked
    assert (reply.status, reply.headers["x-edgeward-node"], len(reply.history)) == (200, "far", 1)
    assert "edge_requests_handed_on_total{" not in await network.page("far")


@pytest.mark.parametrize("spoil", ["", "A" * 400, "cut", "of another origin"])
async def test_a_ticket_that_cannot_be_believed_changes_nothing_for_its_client(network, spoil):
    url = await network.sent_to()
    plain, _, ticket = url.partition("&edgeward_ticket=")
    if spoil == "of another origin":
        flipped = "B" if ticket[14] != "B" else "C"
        spoil = ticket[:14] + flipped + ticket[15:]
    elif spoil == "cut":
        spoil = ticket[:-8]
    await network.fill("near", count=2)
    asked = asyncio.create_task(network.chat(f"{plain}&edgeward_ticket={spoil}"))
    await asyncio.sleep(0.1)
    network.engines["near"].work_gate.set()
    reply = await asked
    assert (reply.status, reply.headers["x-edgeward-node"], reply.history) == (200, "near", ())


async def test_a_draining_node_sends_on(network):
    url = await network.sent_to()
    network.nodes["near"]._runner.drain()
    reply = await network.chat(url, stream=True)
    assert (reply.status, reply.headers["x-edgeward-node"]) == (200, "far")
    assert reply.history[0].headers["x-edgeward-handed-on"].startswith("draining")


async def test_our_own_client_goes_where_it_is_sent(network):
    async with AsyncClient(network.origin_url, place=(50.11, 8.68)) as client:
        first = await client.chat("hello", model="chat")
        network.nodes["near"]._runner.drain()
        second = await client.chat("hello again", model="chat")
    assert (first.served.node_id, second.served.node_id) == ("near", "far")
    assert second.text == "by 1"
