"""The Python client against a node's real front, found through an origin that knows only it."""

import asyncio
import struct

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from edge_node.client import AsyncClient, ClientConfig, Ranked, Tensor
from edge_node.engines import Delta, Finished, Progress, Started
from edge_node.errors import ModelNotHereError, RequestInvalidError
from origin.api import RankedNode, RouteAnswer
from registry.wire import to_msgpack


@pytest.fixture
async def sdk(front):
    """A client that is sent to the front."""

    async def route(_request):
        url = str(front.client.make_url("")).rstrip("/")
        node = RankedNode(
            node_id="node-a", url=url, label="", place=None, distance_km=None, rtt_ms=1.0, score_s=0.1,
            terms_s={}, version="1",
        )  # fmt: skip
        answer = RouteAnswer(model="m", nodes=(node,), ttl_s=60.0, place=None, place_source="none")
        return web.Response(body=to_msgpack(answer), content_type="application/msgpack")

    app = web.Application()
    app.router.add_post("/v1/route", route)
    server = TestServer(app)
    await server.start_server()
    config = ClientConfig(origin=(str(server.make_url("")).rstrip("/"),), timeout_s=7.5)
    async with AsyncClient(config=config) as client:
        yield client
    await server.close()


async def test_documents_by_relevance(sdk):
    ranking = await sdk.rerank("q", ["aa", "aaaa", "a"], model="judge")
    assert list(ranking) == [Ranked(1, 4.0), Ranked(0, 2.0), Ranked(2, 1.0)]
    assert (ranking.model, ranking.usage.prompt_tokens, ranking.served.node_id) == ("judge@1", 9, "node-a")
    assert len(await sdk.rerank("q", ["aa", "aaaa", "a"], model="judge", top_n=1)) == 1


async def test_classes(sdk):
    one, two = await sdk.classify(["a", "bb"], model="classes")
    assert (one.label, one.probabilities) == ("good", {"bad": 1.0, "good": 2.0})
    assert two.probabilities["good"] == 3.0
    assert len(await sdk.classify("a", model="classes")) == 1


async def test_tensors(sdk, front):
    sent = {
        "x": Tensor("FP32", (2, 1), struct.pack("<2f", 1.5, -2)),
        "ids": Tensor("INT64", (1,), struct.pack("<q", 2**40)),
    }
    given = await sdk.infer(sent, model="team/tensors", outputs=["x"])
    assert given["x"] == sent["x"]
    assert given.model == "team/tensors@3"
    assert given.served.release == "team/tensors@3"
    command = front.residents.tensors.commands[-1]
    assert (command.outputs, command.inputs[1].shape) == (("x",), (1,))
    assert dict(await sdk.infer(sent, model="team/tensors@3")) == sent


async def test_refusals_keep_their_kind(sdk):
    with pytest.raises(RequestInvalidError, match="does not do tensors"):
        await sdk.infer({"x": Tensor("FP32", (1,), bytes(4))}, model="chat")
    with pytest.raises(ModelNotHereError):
        await sdk.infer({"x": Tensor("FP32", (1,), bytes(4))}, model="nowhere")


async def test_how_far_an_answer_is_while_it_waits(sdk, make_front, front):
    gate = asyncio.Event()
    front.residents.chat.script = (
        Progress(request_id="", ahead_count=2, read_tokens=0, prompt_tokens=10),
        Progress(request_id="", ahead_count=0, read_tokens=5, prompt_tokens=10),
        gate,
        Started(request_id="", prompt_tokens=10, cached_tokens=0, queue_s=0.0, prefill_s=0.1),
        Delta("", "Hello", 1),
        Finished(request_id="", reason="stop", completion_tokens=1, decode_s=0.1),
    )
    told = []

    def note(waiting):
        told.append(waiting)
        gate.set()

    stream = sdk.stream_chat("hi", model="chat")
    stream.on_waiting = note
    async with stream:
        assert "".join([piece.text async for piece in stream]) == "Hello"
    assert told
    assert {waiting.state for waiting in told} <= {"queued", "reading"}
    assert told[-1].percent == 50
