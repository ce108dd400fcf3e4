"""Streams that are cut, with a real model: they go on elsewhere, or with the next engine, and nobody sees it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from edge_node.client import AsyncClient, ClientConfig
from origin.api import RankedNode, RouteAnswer
from registry.wire import to_msgpack
from tests.cutting_relay import Relay

pytestmark = pytest.mark.system

CUTS_COUNT = 100
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
ASKS = (
    {"messages": "Tell me about the sea, with emojis 🌊.", "temperature": 0},
    {"messages": "Write a short poem about a lighthouse.", "temperature": 1.1, "seed": 5},
    {"messages": "Why is the sky blue?", "temperature": 0.9, "seed": -7, "top_k": 40, "presence_penalty": 0.6,
     "logprobs": True},
    {"messages": "Invent a person.", "temperature": 1.0, "seed": 11,
     "response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}},
    {"messages": "Count from one to thirty in words.", "temperature": 0, "stop": ["seven", "and the"],
     "repeat_penalty": 1.1},
    {"messages": "Erzähle von Käse, Flüssen und Brücken.", "temperature": 1.3, "seed": 3, "top_p": 0.9},
)  # fmt: skip


@pytest.fixture(scope="module")
def network(tmp_path_factory, start_network):
    network = LocalNetwork(tmp_path_factory.mktemp("network"), free_ports(2, start_port=24_100))
    os.environ["EDGEWARD_NODE_RESPONSE_CACHE_BYTES"] = "0"  # kept answers would come all at once
    try:
        start_network(network, SITES[:2])
        yield network
    finally:
        del os.environ["EDGEWARD_NODE_RESPONSE_CACHE_BYTES"]
        network.stop()


def node_url(network, index):
    return f"http://127.0.0.1:{network.ports.node(index)}"


async def until_ready(*urls):
    """Wait until all nodes answer; the origin may not have missed one that is being started again."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        for url in urls:
            while not await _is_ready(session, url):  # noqa: ASYNC110  # another process has no event to offer
                await asyncio.sleep(0.1)


async def _is_ready(session, url):
    try:
        async with session.get(f"{url}/readyz") as response:
            models = (await response.json())["models"]
    except aiohttp.ClientError:
        return False
    return response.status == 200 and all(model["state"] == "ready" for model in models)


@asynccontextmanager
async def naming(*urls):
    """The settings of a client whose origin names these nodes, in this order."""
    nodes = tuple(
        RankedNode(
            node_id=site.node_id, url=url, label="", place=None, distance_km=None, rtt_ms=1.0, score_s=float(rank),
            terms_s={}, version="1.0.0",
        )
        for rank, (site, url) in enumerate(zip(SITES, urls, strict=False))
    )  # fmt: skip

    async def route(_request):
        answer = RouteAnswer(model="chat", nodes=nodes, ttl_s=600.0, place=None, place_source="none")
        return web.Response(body=to_msgpack(answer), content_type="application/msgpack")

    app = web.Application()
    app.router.add_post("/v1/route", route)
    async with TestServer(app) as origin:
        yield ClientConfig(origin=str(origin.make_url("")).rstrip("/"), timeout_s=60.0)


async def read(config, ask, *, piece_read=lambda _: None, **more):
    """A whole stream, read by a client that knows nothing yet of any node."""
    fields = {key: value for key, value in ask.items() if key != "messages"}
    text = ""
    async with AsyncClient(config=config) as client:
        stream = client.stream_chat(ask["messages"], model="chat", max_tokens=32, **fields, **more)
        async for piece in stream:
            text += piece.text
            piece_read(piece)
    assert text == stream.text
    return text, stream


@asynccontextmanager
async def cut_streams(network, *, deterministic):
    """What reads a stream whole, and one that is cut after a share of its bytes; each begins at the first node."""
    relay = Relay(network.ports.node(0))
    async with naming(await relay.open(), node_url(network, 1)) as config:
        wholes, passed = [], []
        for ask in ASKS:
            places = []
            text, stream = await read(
                config,
                ask,
                deterministic=deterministic,
                piece_read=lambda _, places=places: places.append(relay.passed_bytes),
            )
            assert stream.served.nodes == (SITES[0].node_id,)
            wholes.append((text, stream.finish_reason, stream.usage))
            passed.append(places)

        async def cut(number, share):
            """Cut somewhere from the first text to the last."""
            first, *_, last, _ = passed[number]
            relay.cut_after(first + 1 + int(share * (last - first)))
            return await read(config, ASKS[number], deterministic=deterministic)

        try:
            yield wholes, cut
        finally:
            await relay.close()


async def test_a_deterministic_stream_cut_anywhere_gives_the_same_text(network):
    rng = random.Random(20)
    same_count = resumed_count = 0
    async with cut_streams(network, deterministic=True) as (wholes, cut):
        for number in range(CUTS_COUNT):
            which = number % len(ASKS)
            share = rng.random()
            text, stream = await cut(which, share)
            whole, reason, usage = wholes[which]
            resumed_count += stream.served.resumed_count
            same = (text, stream.finish_reason) == (whole, reason) and stream.usage in (None, usage)
            same_count += same
            if not same:
                sys.stderr.write(f"{number}: ask {which} cut at {share:.2f}: {text!r} instead of {whole!r}\n")
    sys.stderr.write(f"{same_count} of {CUTS_COUNT} the same, {resumed_count} went on in the middle\n")
    assert same_count == CUTS_COUNT
    assert resumed_count >= 0.9 * CUTS_COUNT


async def test_any_stream_cut_anywhere_is_one_stream(network):
    rng = random.Random(21)
    resumed_count = 0
    async with cut_streams(network, deterministic=False) as (_, cut):
        for number in range(30):
            which = number % len(ASKS)
            text, stream = await cut(which, rng.random())
            assert text
            assert stream.finish_reason in {"stop", "length"}
            if stream.usage and stream.finish_reason == "length":
                assert stream.usage.completion_tokens == 32
            if "response_format" in ASKS[which] and stream.finish_reason == "stop":
                assert set(json.loads(text)) == {"name", "age"}
            resumed_count += stream.served.resumed_count
    assert resumed_count >= 24


async def test_a_stream_whose_node_is_killed_gives_the_same_text(network):
    rng = random.Random(22)
    for number in range(4):
        victim, ask = number % 2, ASKS[number]
        pieces_left = [rng.randrange(1, 20)]

        def kill_in_time(_piece, victim=victim, pieces_left=pieces_left):
            pieces_left[0] -= 1
            if not pieces_left[0]:
                os.kill(network.pids()[f"node-{SITES[victim].node_id}"], signal.SIGKILL)

        async with naming(node_url(network, victim), node_url(network, 1 - victim)) as config:
            whole, _ = await read(config, ask, deterministic=True)
            text, _ = await read(config, ask, deterministic=True, piece_read=kill_in_time)
        assert text == whole
        network.restart_dead()
        await until_ready(node_url(network, 0), node_url(network, 1))


def engines_of(pid):
    """The engine processes of a node, the newest last."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_text().split("\0") for child in children}


def chat_engine(pid):
    """The process id of the chat model's engine; None while there is none."""
    return next((child for child, words in engines_of(pid).items() if "chat@1.0.0" in words), None)


async def test_an_engine_killed_under_load_is_back_and_its_streams_go_on(network):
    url = f"{node_url(network, 0)}/v1/chat/completions"
    pid = network.pids()[f"node-{SITES[0].node_id}"]

    begun, all_begun = set(), asyncio.Event()

    async def told(session, number):
        ask = {
            "model": "chat", "stream": True, "max_tokens": 60, "temperature": 0,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": f"Tell a long story about {number} ships."}],
        }  # fmt: skip
        chunks, done = [], False
        async with session.post(url, json=ask) as response:
            assert response.status == 200
            async for line in response.content:
                if line.startswith(b"data: {"):
                    chunks.append(json.loads(line[6:]))
                done = done or line.startswith(b"data: [DONE]")
                if len(chunks) > 5:
                    begun.add(number)
                if len(begun) == 8:
                    all_begun.set()
        return chunks, done

    for round_ in range(3):
        begun.clear()
        all_begun.clear()
        async with aiohttp.ClientSession() as session:
            streams = [asyncio.create_task(told(session, 8 * round_ + at)) for at in range(8)]
            async with asyncio.timeout(60):
                await all_begun.wait()
            victim = chat_engine(pid)
            os.kill(victim, signal.SIGKILL)
            killed_s = time.monotonic()
            back_s = asyncio.create_task(_answers_again(session, url, killed_s))
            told_all = await asyncio.gather(*streams)
            took_s = await back_s
        errors = [chunk["error"]["code"] for chunks, _ in told_all for chunk in chunks if "error" in chunk]
        continued_count = 0
        for chunks, done in told_all:
            if done:
                continued_count += 1
                assert chunks[-1]["usage"]["completion_tokens"] <= 60
                assert len({chunk["id"] for chunk in chunks}) == 1
        assert continued_count + len(errors) == 8
        sys.stderr.write(
            f"engine killed under 8 streams: {continued_count} went on, errors {errors}; "
            f"it answered again after {took_s:.2f} s\n"
        )
        assert set(errors) <= {"engine.failed"}
        assert continued_count == 8 or took_s > 8  # a machine so busy that nobody waits for the engine


async def _answers_again(session, url, killed_s):
    while True:
        # Another text each time: what was at work in two deaths is refused.
        text = f"Hi, it is {time.monotonic()}."
        ask = {"model": "chat", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}
        async with session.post(url, json=ask) as response:
            if response.status == 200:
                return time.monotonic() - killed_s
        await asyncio.sleep(0.02)
