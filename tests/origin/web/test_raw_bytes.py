"""The same bytes to the front and to aiohttp alone: whatever they are, a client hears the same."""

import asyncio

import pytest

from origin.api import ModelReport, NodeReport
from origin.web.route_desk import RouteDesk
from tests.raw_requests import most_unread_bytes, raw_requests, statuses_of

BODY = b'{"model": "chat", "place": {"lat": 48.0, "lon": 2.0}}'
RAW = raw_requests("/v1/route", BODY)


@pytest.fixture
async def network(origin, store, publish):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    ready = ModelReport(name="chat", version="1.0", state="ready", slots=64, service_s=0.5)
    await origin.client.report(
        NodeReport(node_id="paris", incarnation=1, url="http://paris.example:8000", models=(ready,))
    )
    return origin


async def heard(runner, raw, count):
    """What a new connection answers to these bytes, and to a plain request that another one sends afterwards."""
    host, port = runner.addresses[0][:2]
    statuses = []
    for sent, expected_count in ((raw, count), (RAW["plain"][0], 1)):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(sent)
        async with asyncio.timeout(60):
            statuses.append(await statuses_of(reader, expected_count))
        writer.close()
    return statuses


@pytest.mark.parametrize("name", RAW)
async def test_the_front_answers_as_aiohttp_does(network, monkeypatch, name):
    raw, expected = RAW[name]
    by_front = await heard(network.runner, raw, len(expected))
    monkeypatch.setattr(RouteDesk, "take", lambda *_: False)
    by_aiohttp = await heard(network.runner, raw, len(expected))
    assert by_front == by_aiohttp == [expected, [200]]


@pytest.mark.parametrize("raw", [RAW["plain"][0], b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_who_asks_and_asks_and_never_reads_costs_a_bounded_buffer(network, raw):
    address = network.runner.addresses[0][:2]
    assert 0 < await most_unread_bytes(network.runner._server, address, raw * 20_000) < 2**20
