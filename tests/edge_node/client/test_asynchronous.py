"""The client against a scripted origin and scripted nodes, over real sockets."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from aiohttp import web

from edge_node.client import AsyncClient, ClientConfig
from edge_node.client import session as session_module
from edge_node.errors import (
    AnswerInvalidError,
    EngineFailedError,
    NodeUnreachableError,
    PromptTooLongError,
    StreamBrokenError,
)
from origin.errors import ModelUnknownError
from registry.errors import EdgewardError, InputInvalidError

HEADERS = {"x-edgeward-release": "chat@1", "x-edgeward-cache": "hit"}


async def texts(stream):
    return [piece.text async for piece in stream]


async def test_a_whole_answer_says_who_gave_it(network, client, make):
    network.serve("paris", "tokyo")
    network.script["paris"] = [lambda _: make.packed(make.whole, **HEADERS)]
    answer = await client.chat("Name a river.", model="chat", temperature=0)
    assert (answer.text, answer.finish_reason, answer.usage.total_tokens) == ("The Loire.", "stop", 7)
    served = answer.served
    assert (served.node_id, served.label, served.url) == ("paris", "Paris", network.url("paris"))
    assert (served.distance_km, served.rtt_ms, served.attempts, served.release) == (12.5, 24.2, 1, "chat@1")
    assert served.cache == "hit"
    assert 0 < served.ttft_ms <= served.total_ms
    assert answer.raw["object"] == "chat.completion"
    assert network.bodies == [
        {"temperature": 0, "messages": [{"role": "user", "content": "Name a river."}], "model": "chat"}
    ]
    head = network.heads[0]
    assert (head["content-type"], head["accept"], head["accept-encoding"]) == (
        "application/msgpack", "application/msgpack", "zstd",
    )  # fmt: skip


async def test_a_long_request_is_compressed_and_a_json_answer_is_read(network, client, make):
    network.serve("paris")
    network.script["paris"] = [lambda _: web.json_response(make.whole)]
    words = "Tell me all. " * 200
    assert (await client.chat([{"role": "user", "content": words}], model="chat")).text == "The Loire."
    assert network.heads[0]["content-encoding"] == "zstd"
    assert int(network.heads[0]["content-length"]) < 300
    assert network.bodies[0]["messages"][0]["content"] == words


async def test_the_ranked_list_is_asked_for_once(network, client, make):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    for _ in range(3):
        await client.chat("x", model="chat")
    assert len(network.route_queries) == 1
    assert network.route_queries[0]["place"] == {"lat": 48.85, "lon": 2.35}


@pytest.mark.parametrize("form", ["frames", "sse"])
@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("cut", [None, 1])
async def test_a_stream_in_every_form(network, client, make, form, zstd, cut):
    network.serve("paris")
    pieces = [
        make.chunk(),
        make.chunk("Käse "),
        make.chunk("ist"),
        make.chunk(finish="stop"),
        make.usage_chunk,
    ]
    network.script["paris"] = [make.streaming(pieces, form=form, zstd=zstd, cut=cut)]
    stream = client.stream_chat("x", model="chat")
    assert await texts(stream) == ["Käse ", "ist", ""]
    assert (stream.text, stream.finish_reason, stream.usage.completion_tokens) == ("Käse ist", "stop", 2)
    assert stream.served.cache == ""
    assert stream.served.node_id == "named"  # the node's own header, as after its redirect
    assert 0 < stream.served.ttft_ms <= stream.served.total_ms
    assert network.bodies[0]["stream"] is True
    assert network.heads[0]["x-edgeward-stream-encoding"] == "zstd"
    assert network.bodies[0]["stream_options"] == {"include_usage": True}


async def test_chat_with_stream_true_and_a_completion_stream(network, client, make):
    network.serve("paris")
    network.script["paris"] = [
        make.streaming([{"choices": [{"index": 0, "text": "a"}]}, {"choices": [{"finish_reason": "length"}]}])
    ]
    stream = await client.chat("x", model="chat", stream=True)
    assert stream.served is not None
    assert await texts(stream) == ["a", ""]
    stream = client.stream_complete("once", model="chat")
    assert await texts(stream) == ["a", ""]
    assert network.bodies[1]["prompt"] == "once"


async def test_a_completion(network, client, make):
    network.serve("paris")
    network.script["paris"] = [
        lambda _: make.packed({"choices": [{"text": " upon", "finish_reason": "stop"}]})
    ]
    assert (await client.complete("once", model="chat")).text == " upon"


@pytest.mark.parametrize("form", ["raw", "base64", "list"])
async def test_embeddings_in_every_form(network, client, make, form):
    raw = struct.pack("<2f", 0.5, -0.25)
    vector = {"raw": raw, "base64": base64.b64encode(raw).decode(), "list": [0.5, -0.25]}[form]
    network.serve("paris")
    data = [{"index": 1, "embedding": [1.0, 0.0]}, {"index": 0, "embedding": vector}]
    network.script["paris"] = [lambda _: make.packed({"data": data, "usage": {"prompt_tokens": 4}})]
    vectors = await client.embed(["a", "b"])
    assert vectors == [[0.5, -0.25], [1.0, 0.0]]
    assert (vectors.usage.prompt_tokens, vectors.served.node_id) == (4, "paris")
    assert network.bodies[0]["model"] == "embed"
    assert vectors.space_id == ""
    with pytest.raises(AnswerInvalidError, match="asked for 1"):
        await client.embed("a")


async def test_a_space_of_vectors_is_asked_for_by_name_and_told(network, client, make):
    network.serve("paris")
    data = [{"index": 0, "embedding": [1.0, 0.0]}]
    network.script["paris"] = [lambda _: make.packed({"data": data, "space_id": "0f3a"})]
    assert (await client.embed("a", model="embed#0f3a")).space_id == "0f3a"
    assert network.bodies[0]["model"] == "embed#0f3a"


@pytest.mark.parametrize(
    "first",
    [
        ("engine.failed", 502), ("node.overloaded", 429), ("model.not_ready", 503), ("node.draining", 503),
        ("model_not_found", 404), ("internal", 500),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_refusal_that_another_node_may_not_share(network, client, make, first, streamed):
    network.serve("paris", "tokyo")
    network.script["paris"] = [lambda _: make.failure(*first)]
    if streamed:
        network.script["tokyo"] = [make.streaming([make.chunk("ok", "stop")])]
        stream = client.stream_chat("x", model="chat")
        await texts(stream)
        served = stream.served
    else:
        network.script["tokyo"] = [lambda _: make.packed(make.whole)]
        served = (await client.chat("x", model="chat")).served
    assert network.asked == ["paris", "tokyo"]
    assert (served.attempts, served.refusals) == (2, ("paris: no",))


async def test_a_bad_request_is_tried_once(network, client, make):
    network.serve("paris", "tokyo")
    network.script["paris"] = [lambda _: make.failure("context_length_exceeded", 400, "too long")]
    with pytest.raises(PromptTooLongError, match="too long"):
        await client.chat("x", model="chat")
    assert network.asked == ["paris"]


async def test_three_nodes_are_asked_at_most(network, client, make):
    network.serve("a", "b", "c", "d")
    for node in "abcd":
        network.script[node] = [lambda _: make.failure("engine.failed", 502, "dead")]
    with pytest.raises(EngineFailedError, match="dead"):
        await client.chat("x", model="chat")
    assert network.asked == ["a", "b", "c"]


async def test_a_node_that_is_gone_is_passed_by_and_set_aside(network, client, make, unused_tcp_port):
    network.serve("gone", "tokyo")
    answer = network.routes[0]
    network.routes = [type(answer)(
        model="chat", ttl_s=60, place=None, place_source="none",
        nodes=(network.ranked("gone", url=f"http://127.0.0.1:{unused_tcp_port}"), network.ranked("tokyo")),
    )]  # fmt: skip
    network.script["tokyo"] = [lambda _: make.packed(make.whole)]
    first = await client.chat("x", model="chat")
    second = await client.chat("x", model="chat")
    assert (first.served.attempts, second.served.attempts) == (2, 1)
    assert "does not answer" in first.served.refusals[0]


async def test_only_nodes_that_are_gone(network, client, unused_tcp_port):
    network.serve("gone", url=f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(NodeUnreachableError, match="gone"):
        await client.chat("x", model="chat")


async def test_a_list_that_is_out_of_date_is_asked_for_again(network, client, make):
    network.serve("old")
    old = network.routes[0]
    network.serve("new")
    network.routes = [old, network.routes[0], network.routes[0]]
    network.script["old"] = [lambda _: make.failure("model_not_found", 404)]
    network.script["new"] = [lambda _: make.packed(make.whole)]
    assert (await client.chat("x", model="chat")).served.node_id == "new"
    assert network.route_queries[1]["exclude"] == ["old"]
    await client.chat("x", model="chat")
    assert network.asked == ["old", "new", "new"]


async def test_the_first_text_ends_all_second_tries(network, client, make):
    network.serve("paris", "tokyo")
    network.script["paris"] = [make.streaming([make.chunk("The Lo")], end=False)]
    stream = client.stream_chat("x", model="chat")
    with pytest.raises(StreamBrokenError) as broken:
        await texts(stream)
    assert (broken.value.text, stream.text, broken.value.retry) == ("The Lo", "The Lo", "never")
    assert network.asked == ["paris"]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_error_in_the_middle_of_a_stream(network, client, make):
    network.serve("paris", "tokyo")
    failure = {"error": {"message": "the engine died", "code": "engine.failed"}}
    network.script["paris"] = [make.streaming([make.chunk("a"), failure])]
    with pytest.raises(StreamBrokenError, match="the engine died") as broken:
        await texts(client.stream_chat("x", model="chat"))
    assert broken.value.text == "a"
    assert isinstance(broken.value.__cause__, EngineFailedError)


@pytest.mark.parametrize("form", ["frames", "sse"])
async def test_a_stream_that_just_ends_is_broken(network, client, make, form):
    network.serve("paris", "tokyo")
    network.script["paris"] = [make.streaming([make.chunk("a")], form=form)]
    with pytest.raises(StreamBrokenError, match="ended before"):
        await texts(client.stream_chat("x", model="chat"))


async def test_before_the_first_text_a_broken_stream_goes_elsewhere(network, client, make):
    network.serve("paris", "tokyo", "lima")
    network.script["paris"] = [make.streaming([make.chunk()], end=False)]
    network.script["tokyo"] = [
        make.streaming([make.chunk(), {"error": {"message": "x", "code": "engine.failed"}}])
    ]
    network.script["lima"] = [make.streaming([make.chunk("ok", "stop")])]
    assert await texts(client.stream_chat("x", model="chat")) == ["ok"]
    assert network.asked == ["paris", "tokyo", "lima"]


async def test_a_break_after_the_last_word_takes_nothing_away(network, client, make):
    network.serve("paris")
    network.script["paris"] = [make.streaming([make.chunk("ok", "stop")], end=False)]
    assert await texts(client.stream_chat("x", model="chat")) == ["ok"]


@pytest.mark.parametrize("junk", [b"\xc1", b"\x01", b"\x81\xa7choices\x05", b"<html>"])
async def test_junk_in_a_stream(network, client, make, junk):
    network.serve("paris")
    network.script["paris"] = [make.streaming([junk])]
    with pytest.raises(AnswerInvalidError):
        await texts(client.stream_chat("x", model="chat"))


async def test_an_answer_of_another_kind(network, client):
    network.serve("paris")
    network.script["paris"] = [lambda _: web.Response(text="<html>", content_type="text/html")]
    with pytest.raises(AnswerInvalidError, match="text/html"):
        await client.chat("x", model="chat")
    with pytest.raises(AnswerInvalidError, match="not a stream"):
        await texts(client.stream_chat("x", model="chat"))


@pytest.mark.parametrize("reply", [{}, {"choices": []}, {"choices": [{"message": 3}]}, []])
async def test_an_answer_without_an_answer(network, client, make, reply):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(reply)]
    with pytest.raises(AnswerInvalidError):
        await client.chat("x", model="chat")


async def test_the_only_model_is_taken_and_several_are_listed(network, client, make):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    await client.chat("x")
    assert network.bodies[0]["model"] == "chat"
    network.releases = (("chat", "gguf"), ("code", "gguf"))
    client._only.clear()
    with pytest.raises(InputInvalidError, match="chat, code"):
        await client.chat("x")
    with pytest.raises(ModelUnknownError, match="embedding"):
        await client.embed("x")


async def test_breaking_off_a_stream_closes_its_connection(network, client, make):
    import asyncio

    gone = asyncio.Event()

    async def endless(request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        line = b"data: " + json.dumps(make.chunk("more ")).encode() + b"\n\n"
        try:
            while True:
                await response.write(line)
                await asyncio.sleep(0)
        finally:
            gone.set()  # aiohttp's test server cancels who writes to nobody

    network.serve("paris")
    network.script["paris"] = [endless]
    async with client.stream_chat("x", model="chat") as stream:
        async for _ in stream:
            break
    await asyncio.wait_for(gone.wait(), 5)
    assert stream.finish_reason is None


async def test_a_key_is_sent_to_nodes(network, make):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    config = ClientConfig(origin=(str(network.server.make_url("")),), api_key="k1")
    async with AsyncClient(config=config) as client:
        await client.chat("x", model="chat")
    assert network.heads[0]["authorization"] == "Bearer k1"


@pytest.mark.parametrize("place", [(91, 0), (0, 181)])
def test_a_place_beyond_the_earth(place):
    with pytest.raises(InputInvalidError, match="is not a place"):
        AsyncClient(config=ClientConfig(), place=place)
    with pytest.raises(EdgewardError, match="not both"):
        AsyncClient("http://x", config=ClientConfig())


def test_the_patience_is_five_seconds():
    assert session_module.PATIENCE_S == 5.0
