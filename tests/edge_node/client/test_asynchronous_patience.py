"""When the client waits, asks again, or goes on with what it knows; nobody sleeps."""

from __future__ import annotations

import pytest

from edge_node.client import AsyncClient, ClientConfig
from edge_node.errors import (
    OverloadedError,
)
from origin.errors import ModelUnknownError, NoNodeAvailableError, OriginUnreachableError


@pytest.fixture
def naps(client):
    """How long the client slept, with no sleeping."""
    slept = []

    async def nap(seconds):
        slept.append(seconds)

    client._connected()[1]._sleep = nap
    return slept


async def test_retry_after_is_obeyed_once(network, client, make, naps):
    network.serve("paris")
    busy = lambda _: make.failure("node.overloaded", 429, "full", retry_after_ms="1500", Retry_After="2")  # noqa: E731
    network.script["paris"] = [busy, lambda _: make.packed(make.whole)]
    assert (await client.chat("x", model="chat")).served.attempts == 2
    assert naps == [1.5]
    network.script["paris"] = [busy]
    with pytest.raises(OverloadedError):
        await client.chat("x", model="chat")
    assert naps == [1.5, 1.5]


async def test_a_long_retry_after_is_the_callers_to_wait(network, client, make, naps):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.failure("node.overloaded", 429, Retry_After="6")]
    with pytest.raises(OverloadedError) as refused:
        await client.chat("x", model="chat")
    assert (naps, refused.value.retry_after_s, network.asked) == ([], 6.0, ["paris"])


async def test_an_origin_that_says_later_is_asked_once_more(network, client, make, naps):
    network.serve("paris")
    network.routes = [make.failure("node.none_available", 503, Retry_After="1"), network.routes[0]]
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    await client.chat("x", model="chat")
    assert naps == [1.0]


async def test_what_the_origin_refuses(network, client, make):
    network.routes = [make.failure("model.unknown", 404, "no such model")]
    with pytest.raises(ModelUnknownError, match="no such model"):
        await client.chat("x", model="nope")
    network.serve()
    with pytest.raises(NoNodeAvailableError):
        await client.chat("x", model="chat")


async def test_an_origin_that_is_away(unused_tcp_port):
    async with AsyncClient(config=ClientConfig(origin=(f"http://127.0.0.1:{unused_tcp_port}",))) as client:
        for call in (client.chat("x", model="chat"), client.chat("x"), client.nodes(), client.route("chat")):
            with pytest.raises(OriginUnreachableError):
                await call


async def test_answers_go_on_when_the_origin_goes_away(network, client, make):
    network.serve("paris", ttl_s=0.0)
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    await client.chat("x", model="chat")
    network.origin_up = False
    client._connected()[1]._nearest.lists.expire("chat")
    assert (await client.chat("x", model="chat")).text == "The Loire."
    asked_count = len(network.route_queries)
    assert asked_count == 2
    for _ in range(5):  # it is not asked at every request: it has just failed
        assert (await client.chat("x", model="chat")).text == "The Loire."
    assert len(network.route_queries) == asked_count


async def test_an_ageing_list_is_used_while_a_new_one_comes(network, client, make):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    await client.chat("x", model="chat")
    session = client._connected()[1]
    real_s = session.now_s
    session.now_s = lambda: real_s() + 61
    await client.chat("x", model="chat")
    await client.chat("x", model="chat")
    assert len(network.asked) == 3
    assert len(network.route_queries) <= 3
