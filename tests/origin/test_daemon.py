"""The origin's process, run in this one: where it listens, how it ends, what it refuses."""

import asyncio
import os
import signal

import aiohttp
import pytest
import structlog

from origin.api import NodeReport
from origin.client import OriginClient
from origin.config import OriginConfig
from origin.daemon import _serve_until_told, running_origin
from origin.sharing.config import SharingConfig
from registry.errors import ConfigError, StoreUnavailableError


async def test_it_serves_what_the_store_holds(store, publish):
    publish(store, "chat", "1.0")
    config = OriginConfig(port=0, catalog_refresh_s=0.01)
    async with running_origin(config, store.signed) as url, OriginClient(url) as client:
        assert (await _first_catalog(client)).channels == {"chat": {"stable": "1.0"}}


async def test_it_starts_without_the_store_and_finds_it_later(store, publish):
    publish(store, "chat", "1.0")
    store.away = True
    config = OriginConfig(port=0, catalog_refresh_s=0.01)
    async with running_origin(config, store.signed) as url, OriginClient(url) as client:
        with pytest.raises(StoreUnavailableError):
            await client.catalog()
        store.away = False
        assert len((await _first_catalog(client)).releases) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(store, number):
    with structlog.testing.capture_logs() as lines:
        serving = asyncio.create_task(_serve_until_told(OriginConfig(port=0), store))
        async with asyncio.timeout(10):
            while "origin.started" not in {line["event"] for line in lines}:  # noqa: ASYNC110  # a log tells nobody
                await asyncio.sleep(0)
            os.kill(os.getpid(), number)
            await serving
    events = [line["event"] for line in lines if line["event"].startswith("origin.")]
    assert events == ["origin.started", "origin.stopping", "origin.stopped"]
    assert lines[0]["url"].startswith("http://127.0.0.1:")


async def _first_catalog(client):
    async with asyncio.timeout(10):
        while True:
            try:
                return await client.catalog()
            except StoreUnavailableError:
                await asyncio.sleep(0)


async def test_several_origins_are_told_a_real_address(store):
    """Nodes learn of an origin by what it says of itself, and 0.0.0.0 leads nowhere."""
    config = OriginConfig(host="0.0.0.0", port=0, insecure=True)
    sharing = SharingConfig(servers=("nats://127.0.0.1:9",))
    with pytest.raises(ConfigError, match="public_url"):
        async with running_origin(config, store.signed, sharing):
            pass


async def test_it_starts_without_nats_and_says_so(store, unused_tcp_port):
    config = OriginConfig(port=0)
    sharing = SharingConfig(servers=(f"nats://127.0.0.1:{unused_tcp_port}",))
    async with running_origin(config, store.signed, sharing) as url, OriginClient(url) as client:
        report = NodeReport(node_id="paris", incarnation=1, url="http://n:1")
        directive = await client.report(report)
        assert (directive.origins, directive.cut_off) == ((url,), True)
        listed = await client.nodes()
        assert [view.state for view in listed.nodes] == ["up"]
        assert not listed.sharing.connected
        async with asyncio.timeout(5):
            while f"127.0.0.1:{unused_tcp_port}" not in (await client.nodes()).sharing.problem:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}/metrics") as reply:
                assert "origin_sharing_connected 0.0" in await reply.text()
            async with http.get(f"{url}/readyz") as reply:
                assert (await reply.json())["sharing"]["connected"] is False
