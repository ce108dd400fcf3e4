"""A stream that is cut at any byte goes on at another node, and gives the very text of one that is not cut.

Two fronts of nodes on real ports, with the generations of the real engine over a scripted model; a relay before the
first one breaks its connections off after so many bytes.
"""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from edge_node.cache.answers import AnswerCache
from edge_node.client import AsyncClient, ClientConfig, opening
from edge_node.engines.llama.generation import Chosen, Generation
from edge_node.engines.llama.slots import Slot
from edge_node.scheduler import Scheduler
from edge_node.server import Limits, NodeParts, build_app
from edge_node.telemetry import Metrics
from origin.api import RankedNode, RouteAnswer
from registry.wire import to_msgpack
from tests.cutting_relay import Relay
from tests.edge_node.scripted_front import ScriptedLease, ScriptedResidents, node_status

TEXT = "Die Loire fließt 🌊 durch Frankreich, ENDE wäre zu früh: EN E END und nie mehr."


def tokens_of(text, rng):
    """Bytes cut at random, also inside characters."""
    data = text.encode()
    cuts = sorted({0, len(data), *rng.sample(range(1, len(data)), len(data) // 3)})
    return [data[start:end] for start, end in itertools.pairwise(cuts)]


PIECES = tokens_of(TEXT, random.Random(4))


class Chooser:
    def follow(self, tokens):
        """Nothing depends on them."""

    def free(self):
        """Nothing is held."""


class ScriptedModel(ScriptedLease):
    """Writes `PIECES`, token i being piece i."""

    async def generate(self, command):
        self.commands.append(command)
        limit_tokens = command.sampling.max_tokens or 500
        generation = Generation(command, [1, 2, 3], limit_tokens=limit_tokens, sampler=Chooser(), now_s=0.0)
        generation.admit(Slot(0), now_s=0.0)
        resumed = command.resume.tokens if command.resume else ()
        generation.resume(resumed, [PIECES[token] for token in resumed])
        for event in generation.whole(0.0):
            yield event
        last = bool(generation.whole(0.0))
        for token in range(len(resumed), len(PIECES) + 1):
            if last:
                return
            piece, ends = (PIECES[token], False) if token < len(PIECES) else (b"", True)
            events, last = generation.advance(Chosen(token), piece, ends=ends, now_s=0.0)
            for event in events:
                yield event
            await asyncio.sleep(0)


@pytest.fixture
async def pair(monkeypatch):
    """A client, the relay before node a, and the models of a and b."""
    made, models = [], []
    for name in "ab":
        residents = ScriptedResidents()
        residents.chat = ScriptedModel("chat", "1.2.0", residents.chat.ready)
        parts = NodeParts(
            node_id=name,
            residents=residents,
            scheduler=Scheduler(queue_limit_count=4),
            metrics=Metrics(node_id=name, software="0"),
            status=node_status,
            limits=Limits(),
            cache=AnswerCache(limit_bytes=0, age_limit_s=1, clock=lambda: 0.0),
        )
        server = TestServer(build_app(parts))
        await server.start_server(auto_decompress=False)
        made.append(server)
        models.append(residents.chat)
    relay = Relay(made[0].port)
    urls = [await relay.open(), str(made[1].make_url("")).rstrip("/")]
    nodes = tuple(
        RankedNode(
            node_id=name, url=url, label="", place=None, distance_km=None, rtt_ms=1.0, score_s=0.1, terms_s={},
            version="1.2.0",
        )
        for name, url in zip("ab", urls, strict=True)
    )  # fmt: skip

    async def route(_request):
        answer = RouteAnswer(model="chat", nodes=nodes, ttl_s=60.0, place=None, place_source="none")
        return web.Response(body=to_msgpack(answer), content_type="application/msgpack")

    app = web.Application()
    app.router.add_post("/v1/route", route)
    origin = TestServer(app)
    await origin.start_server()
    config = ClientConfig(origin=str(origin.make_url("")).rstrip("/"), timeout_s=5.0)
    yield config, relay, models, monkeypatch
    await relay.close()
    for server in (origin, *made):
        await server.close()


async def read(client, **fields):
    stream = client.stream_chat("x", model="chat", **fields)
    pieces = [piece async for piece in stream]
    return "".join(piece.text for piece in pieces), stream


@pytest.mark.parametrize("fields", [{}, {"stop": ["END", "mehr"]}, {"stop": ["EN E END"], "max_tokens": 33}])
@pytest.mark.parametrize("form", ["frames", "sse"])
@pytest.mark.parametrize("packed", [False, True])
async def test_cut_at_any_byte(pair, form, packed, fields):
    config, relay, models, patch = pair
    if form == "sse":
        patch.setattr(opening, "FRAMES_TYPE", "text/event-stream")
    if not packed:
        patch.setattr("edge_node.client.sending.STREAM_ENCODING", "x-nobody-reads-this")
    async with AsyncClient(config=config) as client:
        whole, stream = await read(client, **fields)
        assert stream.served.nodes == ("a",)
        reason, usage = stream.finish_reason, stream.usage
        cuts = random.Random(form).sample(range(1, relay.passed_bytes), 15 if packed else 25)
        resumed_count = 0
    for cut in cuts:
        relay.cut_after(cut)
        async with AsyncClient(config=config) as client:
            text, stream = await read(client, **fields)
        assert (text, stream.text, stream.finish_reason) == (whole, whole, reason), cut
        assert stream.usage in (None, usage), cut  # none: cut after the last word
        if stream.served.resumed_count:
            resumed_count += 1
            assert stream.served.nodes == ("a", "b")
            assert models[1].commands[-1].resume is not None
    assert resumed_count > len(cuts) / 4
