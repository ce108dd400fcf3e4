"""The origin's process, run in this one: where it listens, how it ends, what it refuses."""

import asyncio
import os
import signal

import pytest
import structlog

from origin.client import OriginClient
from origin.config import OriginConfig
from origin.daemon import _serve_until_told, check_exposure, running_origin
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


async def test_a_port_in_use_is_named(store):
    async with running_origin(OriginConfig(port=0), store) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(
            ConfigError, match=rf"port {port} on 127\.0\.0\.1 is in use by another program; .*--port"
        ):
            async with running_origin(OriginConfig(port=port), store):
                pass


async def test_an_address_of_another_machine_is_named(store):
    with pytest.raises(ConfigError, match=r"'192\.0\.2\.1' is not an address of this machine"):
        async with running_origin(OriginConfig(host="192.0.2.1", port=0, insecure=True), store):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_a_host_that_others_can_reach_must_be_said_to_be_insecure(host):
    with pytest.raises(ConfigError, match="--insecure"):
        check_exposure(OriginConfig(host=host))
    check_exposure(OriginConfig(host=host, insecure=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_alone_is_fine(host):
    check_exposure(OriginConfig(host=host))


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
