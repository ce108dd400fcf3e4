"""What nodes are told of the client's patience, and clients of the queue."""

from __future__ import annotations

import pytest

from edge_node.client import Waiting
from edge_node.client.chunks import Chunk
from edge_node.errors import ModelNotReadyError


async def test_nodes_are_told_how_long_the_client_waits(network, client, make):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    await client.chat("x", model="chat")
    assert network.heads[-1]["x-edgeward-timeout-ms"] == "5000"


async def test_a_node_that_loads_the_model_is_passed_by_and_told_of(network, client, make):
    def loading(_request):
        import aiohttp.web

        detail = {"message": "chat is not ready", "type": "x", "param": "model", "code": "model.not_ready"}
        state = {"state": "loading", "eta_s": 40.2, "done_bytes": 0, "total_bytes": 0}
        return aiohttp.web.json_response({"error": detail, "loading": state}, status=503)

    network.serve("paris", "lyon")
    network.script["paris"] = [loading]
    network.script["lyon"] = [lambda _: make.packed(make.whole)]
    answer = await client.chat("x", model="chat")
    assert answer.served.refusals == ("paris: chat is not ready (loading, about 40 s left)",)
    network.script["lyon"] = [loading]
    with pytest.raises(ModelNotReadyError, match=r"about 40 s left") as caught:
        await client.chat("x", model="chat")
    assert caught.value.state == "loading"


async def test_signs_of_life_tell_how_far_an_answer_is(network, client, make):
    network.serve("paris")
    network.script["paris"] = [
        make.streaming(
            [
                {"object": "edgeward.alive", "state": "queued", "place": 3.0, "eta_s": 2.5},
                {"object": "edgeward.alive", "state": "reading", "percent": 40.0},
                make.chunk("a"),
                {"object": "edgeward.alive", "state": "answering"},
                make.chunk("b", "stop"),
            ]
        )
    ]
    told = []
    stream = client.stream_chat("x", model="chat")
    stream.on_waiting = told.append
    assert "".join([piece.text async for piece in stream]) == "ab"
    assert told == [Waiting(state="queued", place=3, eta_s=2.5), Waiting(state="reading", percent=40)]
    assert Chunk().waiting() is None
