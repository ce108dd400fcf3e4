"""Two origins over NATS, of real parts: requests keep flowing while NATS, one origin or all of them are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from edge_node.client import AsyncClient
from origin.api import RouteQuery
from origin.client import OriginClient
from origin.errors import OriginUnreachableError
from registry.errors import EdgewardError
from registry.publish import publish

pytestmark = pytest.mark.system

WANTED = [("embed", "1.0.0")]
NODES = {site.node_id for site in SITES[:2]}


@pytest.fixture(scope="module")
def network(tmp_path_factory, sample_models):
    ports = free_ports(len(NODES), origins_count=2, start_port=27_000)
    network = LocalNetwork(tmp_path_factory.mktemp("origins"), ports, origins_count=2)

    async def start():
        store = await network.start_store()
        await network.start_origin()
        await asyncio.to_thread(
            publish, sample_models / "minilm", name="embed", version="1.0.0", store=store,
            created_unix_s=int(time.time()),
        )  # fmt: skip
        for index, site in enumerate(SITES[:2]):
            network.start_node(site, index)
        await network.wait_until_serving(WANTED, timeout_s=120)

    try:
        asyncio.run(start())
        yield network
    finally:
        network.stop()


@pytest.fixture
async def origins(network):
    network.restart_dead()
    clients = [OriginClient(url) for url in network.origin_urls]
    for client in clients:
        await until(lambda client=client: all_up(client), 30)
    yield clients
    for client in clients:
        await client.close()


async def until(true, within_s):
    """Wait until the coroutine gives something true; how long that took."""
    started_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await true():  # noqa: ASYNC110  # other processes give no events
            await asyncio.sleep(0.02)
    return time.monotonic() - started_s


async def states(client):
    try:
        return {view.report.node_id: view for view in (await client.nodes()).nodes}
    except OriginUnreachableError:
        return {}


async def all_up(client):
    views = await states(client)
    return set(views) >= NODES and all(views[node].state == "up" for node in NODES)


async def get(url):
    async with aiohttp.ClientSession() as http, http.get(url) as reply:
        return await reply.json(content_type=None)


class Flow:
    """Requests that go on, to each node by its address and through the SDK; every failure is kept."""

    def __init__(self, network):
        self.urls = [f"http://127.0.0.1:{network.ports.node(index)}" for index in range(len(NODES))]
        self.sdk = AsyncClient(network.origin_url, place=(48.85, 2.35))
        self.answers_count, self.failures = 0, []

    async def _ask_nodes(self):
        async with aiohttp.ClientSession() as http:
            for number in range(10**9):
                url = self.urls[number % len(self.urls)]
                body = {"model": "embed", "input": f"text {number}"}
                try:
                    async with http.post(f"{url}/v1/embeddings", json=body) as reply:
                        assert reply.status == 200, await reply.text()
                        self.answers_count += 1
                except (aiohttp.ClientError, AssertionError) as error:
                    self.failures.append(f"{url}: {error}")
                await asyncio.sleep(0.02)

    async def _ask_sdk(self):
        for number in range(10**9):
            try:
                await self.sdk.embed([f"sdk {number}"], model="embed")
                self.answers_count += 1
            except EdgewardError as error:
                self.failures.append(f"sdk: {error.message}")
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def running(self):
        async with self.sdk:
            tasks = [asyncio.create_task(self._ask_nodes()), asyncio.create_task(self._ask_sdk())]
            await asyncio.sleep(0.5)
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        assert self.answers_count > 20
        assert self.failures == []


async def test_each_origin_hears_some_and_knows_all(network, origins):
    async def each_hears_its_own():
        first, second = [await states(client) for client in origins]
        return (
            first["frankfurt"].heard_by == second["virginia"].heard_by == ""
            and first["virginia"].heard_by
            and second["frankfurt"].heard_by
        )

    await until(
        each_hears_its_own, 60
    )  # a node that was made to wait at the start reports elsewhere for a while
    for client in origins:
        answer = await client.route(RouteQuery(model="embed"))
        assert {node.node_id for node in answer.nodes} == NODES
        sharing = (await client.nodes()).sharing
        assert sharing.connected
        assert [peer.heard for peer in sharing.origins] == [True]


async def test_nats_killed_and_back(network, origins):
    async with Flow(network).running():
        os.kill(network.pids()["nats"], signal.SIGKILL)

        async def both_say_so():
            bodies = [await get(f"{url}/readyz") for url in network.origin_urls]
            return not any(body["sharing"]["connected"] for body in bodies)

        assert await until(both_say_so, 10) < 3
        ends_s = time.monotonic() + 5
        while time.monotonic() < ends_s:
            for client in origins:
                views = await states(client)
                assert {views[node].state for node in NODES} <= {"up", "suspect"}
                answer = await client.route(RouteQuery(model="embed"))
                assert {node.node_id for node in answer.nodes} == NODES
            await asyncio.sleep(0.1)
        # Nodes report to each origin themselves meanwhile: the view is not only kept, it is fresh.
        for client in origins:
            assert await all_up(client)
        assert network.restart_dead() == ["nats"]

        async def both_are_back():
            bodies = [await get(f"{url}/readyz") for url in network.origin_urls]
            return all(
                body["sharing"]["connected"] and body["sharing"]["origins"][0]["heard"] for body in bodies
            )

        await until(both_are_back, 10)


async def test_an_origin_killed_and_back(network, origins):
    async with Flow(network).running():
        os.kill(network.pids()["origin-2"], signal.SIGKILL)

        async def first_hears_both():
            views = await states(origins[0])
            return all(views[node].heard_by == "" and views[node].state == "up" for node in NODES)

        assert await until(first_hears_both, 10) < 3

        async def seen_dead():
            return network.restart_dead() == ["origin-2"]

        await until(seen_dead, 10)  # what was killed goes when the kernel gets to it
        await until(lambda: all_up(origins[1]), 20)


async def test_all_origins_gone_and_back(network, origins):
    async with Flow(network).running():
        pids = network.pids()
        for part in ("origin", "origin-2", "nats"):
            os.kill(pids[part], signal.SIGKILL)
        await asyncio.sleep(6)
        for index in range(len(NODES)):
            readiness = await get(f"http://127.0.0.1:{network.ports.node(index)}/readyz")
            assert readiness["ready"]
            assert not readiness["origin_up"]
            assert 5 < readiness["origin_age_s"] < 10
        assert set(network.restart_dead()) == {"origin", "origin-2", "nats"}
        for client in origins:
            await until(lambda client=client: all_up(client), 30)


async def test_a_new_origin_knows_the_fleet_within_a_second_of_its_start(network, origins):
    os.kill(network.pids()["origin-2"], signal.SIGKILL)
    await asyncio.sleep(0.1)
    network.restart_dead()

    async def answers():
        try:
            await origins[1].nodes()
        except OriginUnreachableError:
            return False
        return True

    await until(answers, 20)

    async def knows():
        return set(await states(origins[1])) >= NODES

    assert await until(knows, 10) < 1.5
