"""Streams that break, and go on at other nodes: their reader sees one."""

from __future__ import annotations

import asyncio

import msgpack
import pytest
from aiohttp import web

from edge_node.client import Client, ClientConfig
from edge_node.client import stream as stream_module
from edge_node.errors import EngineFailedError, StreamBrokenError

RELEASE = {"release": "r1", "silence_s": 10.0}
FIRST = ({"role": True, "edgeward": RELEASE}, ("The ", [1]), ("Loire", [2, 3]))


def chunks(make, *parts, count=0, chars=0):
    """Marked chunks out of (text, tokens), plain text without a mark, or what `make.chunk` takes; the end is None."""
    made = []
    for part in parts:
        if part is None:
            made.append(make.chunk(finish="stop"))
        elif isinstance(part, dict):
            mark = {**part["edgeward"], "tokens_count": count, "text_chars": chars}
            made.append(make.chunk(id="c-1", created=17, edgeward=mark))
        elif isinstance(part, str):
            made.append(make.chunk(part))
        else:
            text, tokens = part
            chars += len(text)
            mark = {"tokens": tokens, "text_chars": chars}
            made.append(make.chunk(text, id="c-1", created=17, edgeward=mark))
    return made


def rest(make, *parts, count=3, chars=9, **more):
    return make.streaming(
        [*chunks(make, {"edgeward": RELEASE}, *parts, None, count=count, chars=chars), make.usage_chunk],
        **more,
    )


def then(network, *steps):
    """What the other nodes answer one after the other; which of them is asked first, their probes decide."""
    left = list(steps)
    for node in "bcd":
        network.script[node] = left


async def texts(stream):
    return [piece.text async for piece in stream]


@pytest.mark.parametrize("form", ["frames", "sse"])
@pytest.mark.parametrize("zstd", [False, True])
async def test_a_broken_stream_goes_on_at_the_next_node(network, client, make, form, zstd):
    network.serve("paris", "tokyo")
    network.script["paris"] = [make.streaming(chunks(make, *FIRST), form=form, zstd=zstd, end=False)]
    network.script["tokyo"] = [rest(make, (", of", [4]), (" course", [5]), form=form, zstd=zstd)]
    stream = client.stream_chat("x", model="chat", max_tokens=9)
    assert await texts(stream) == ["The ", "Loire", ", of", " course", ""]
    assert (stream.text, stream.finish_reason) == ("The Loire, of course", "stop")
    assert stream.usage.completion_tokens == 2
    served = stream.served
    assert (served.resumed_count, served.attempts, served.nodes) == (1, 2, ("named", "named"))
    assert "paris" not in network.asked[1:]
    assert any("broke off" in refusal for refusal in served.refusals)
    assert 0 < served.ttft_ms <= served.total_ms
    first, second = network.bodies
    assert first["edgeward"] == {"resumable": True}
    assert second["edgeward"]["resume"] == {
        "release": "r1", "tokens": [1, 2, 3], "text_chars": 9, "id": "c-1", "created": 17,
    }  # fmt: skip
    assert {**second, "edgeward": None, "model": "chat"} == {**first, "edgeward": None}
    assert second["model"] == "chat@1"


@pytest.mark.parametrize("code", ["engine.failed", "node.draining", "internal"])
async def test_an_error_in_the_stream_goes_elsewhere_too(network, client, make, code):
    network.serve("paris", "tokyo")
    failure = {"error": {"message": "dead", "code": code}}
    network.script["paris"] = [make.streaming([*chunks(make, *FIRST), failure])]
    network.script["tokyo"] = [rest(make, ("!", [4]))]
    stream = client.stream_chat("x", model="chat")
    assert "".join(await texts(stream)) == "The Loire!"
    assert "named: dead" in stream.served.refusals


async def test_a_stream_that_just_ends_goes_on(network, client, make):
    network.serve("paris", "tokyo")
    network.script["paris"] = [make.streaming(chunks(make, *FIRST))]
    network.script["tokyo"] = [rest(make, ("!", [4]))]
    assert "".join(await texts(client.stream_chat("x", model="chat"))) == "The Loire!"


async def test_a_silent_stream_is_given_up(network, client, make):
    async def hangs(request):
        response = web.StreamResponse(
            headers={"content-type": "application/x-edgeward-frames+msgpack", "x-edgeward-node": "paris"}
        )
        await response.prepare(request)
        said = chunks(make, {"edgeward": {"release": "r1", "silence_s": 0.05}}, *FIRST[1:])
        for chunk in said:
            await response.write(msgpack.packb(chunk))
        await asyncio.sleep(30)
        return response

    network.serve("paris", "tokyo")
    network.script["paris"] = [hangs]
    network.script["tokyo"] = [rest(make, ("!", [4]))]
    stream = client.stream_chat("x", model="chat")
    async with asyncio.timeout(3):
        assert "".join(await texts(stream)) == "The Loire!"
    assert stream.served.nodes == ("paris", "named")


async def test_it_goes_on_twice_and_no_more(network, client, make):
    network.serve("a", "b", "c", "d")
    network.script["a"] = [make.streaming(chunks(make, *FIRST), end=False)]
    once = [*chunks(make, {"edgeward": RELEASE}, (" is", [4]), count=3, chars=9)]
    twice = [*chunks(make, {"edgeward": RELEASE}, (" it", [5]), count=4, chars=12)]
    then(network, make.streaming(once, end=False), make.streaming(twice, end=False))
    stream = client.stream_chat("x", model="chat")
    with pytest.raises(StreamBrokenError) as broken:
        await texts(stream)
    assert broken.value.text == stream.text == "The Loire is it"
    assert stream.served.resumed_count == 2
    assert len(network.asked) == 3
    assert [body["edgeward"].get("resume", {}).get("tokens") for body in network.bodies] == [
        None, [1, 2, 3], [1, 2, 3, 4],
    ]  # fmt: skip


async def test_a_node_that_refuses_to_go_on_is_passed_by(network, client, make):
    network.serve("a", "b", "c")
    network.script["a"] = [make.streaming(chunks(make, *FIRST), end=False)]
    then(network, lambda _: make.failure("resume.mismatched", 409, "another release"), rest(make, ("!", [4])))
    stream = client.stream_chat("x", model="chat")
    assert "".join(await texts(stream)) == "The Loire!"
    assert stream.served.attempts == 3


async def test_a_node_that_begins_anew_is_passed_by_before_its_text_is_seen(network, client, make):
    network.serve("a", "b", "c")
    network.script["a"] = [make.streaming(chunks(make, *FIRST), end=False)]
    anew = [make.chunk("The "), make.chunk("Loire"), make.chunk(finish="stop")]
    then(network, make.streaming(anew), rest(make, ("!", [4])))
    assert "".join(await texts(client.stream_chat("x", model="chat"))) == "The Loire!"


async def test_no_node_can_go_on(network, client, make):
    network.serve("a", "b")
    network.script["a"] = [make.streaming(chunks(make, *FIRST), end=False)]
    network.script["b"] = [lambda _: make.failure("context_length_exceeded", 400, "too long")]
    stream = client.stream_chat("x", model="chat")
    with pytest.raises(
        StreamBrokenError, match=r"broke after 9 characters.*no other node goes on: too long"
    ) as broken:
        await texts(stream)
    assert broken.value.text == "The Loire"


async def test_the_only_node_may_be_back(network, client, make):
    network.serve("a")
    network.script["a"] = [make.streaming(chunks(make, *FIRST), end=False), rest(make, ("!", [4]))]
    assert "".join(await texts(client.stream_chat("x", model="chat"))) == "The Loire!"


@pytest.mark.parametrize("code", ["request.invalid", "context_length_exceeded"])
async def test_what_no_node_can_do_is_not_tried_elsewhere(network, client, make, code):
    network.serve("a", "b")
    failure = {"error": {"message": "never", "code": code}}
    network.script["a"] = [make.streaming([*chunks(make, *FIRST), failure])]
    with pytest.raises(StreamBrokenError, match="never"):
        await texts(client.stream_chat("x", model="chat"))
    assert network.asked == ["a"]


async def test_a_stream_of_somebody_else_ends_as_ever(network, client, make):
    network.serve("a", "b")
    network.script["a"] = [make.streaming([make.chunk("The "), make.chunk("Loire")], end=False)]
    with pytest.raises(StreamBrokenError) as broken:
        await texts(client.stream_chat("x", model="chat"))
    assert broken.value.text == "The Loire"
    assert network.asked == ["a"]
    failing = [make.chunk("x"), {"error": {"message": "dead", "code": "engine.failed"}}]
    network.script["a"] = [make.streaming(failing)]
    with pytest.raises(StreamBrokenError) as broken:
        await texts(client.stream_chat("x", model="chat"))
    assert isinstance(broken.value.__cause__, EngineFailedError)


async def test_text_that_is_not_settled_is_neither_shown_nor_lost(network, client, make):
    network.serve("a", "b")
    unsettled = make.chunk("Loi", edgeward={"more": True})
    network.script["a"] = [make.streaming([*chunks(make, *FIRST[:2]), unsettled], end=False)]
    network.script["b"] = [rest(make, ("Loire", [2]), count=1, chars=4)]
    stream = client.stream_chat("x", model="chat")
    assert await texts(stream) == ["The ", "Loire", ""]
    assert network.bodies[1]["edgeward"]["resume"]["tokens"] == [1]


async def test_several_answers_do_not_ask_for_marks(network, client, make):
    network.serve("a")
    network.script["a"] = [make.streaming([make.chunk("ok", "stop")])]
    await texts(client.stream_chat("x", model="chat", n=2))
    assert "edgeward" not in network.bodies[0]


async def test_closing_while_it_goes_on_stops_everything(network, client, make):
    asked = asyncio.Event()

    async def never(request):
        asked.set()
        await asyncio.sleep(30)

    network.serve("a", "b")
    network.script["a"] = [make.streaming(chunks(make, *FIRST), end=False)]
    network.script["b"] = [never]
    stream = client.stream_chat("x", model="chat")

    async def read():
        async with stream:
            return await texts(stream)

    reading = asyncio.create_task(read())
    await asked.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert stream.text == "The Loire"
    assert stream_module.RESUMES_MOST_COUNT == 2


async def test_a_program_without_an_event_loop_sees_one_stream_too(network, make):
    network.serve("paris", "tokyo")
    loop, read = asyncio.get_running_loop(), asyncio.Event()
    network.script["paris"] = [make.streaming(chunks(make, *FIRST), end=False, read=read)]
    network.script["tokyo"] = [rest(make, ("!", [4]))]

    def use():
        config = ClientConfig(origin=str(network.server.make_url("")).rstrip("/"), timeout_s=5.0)
        with Client(config=config) as client:
            stream = client.stream_chat("x", model="chat")
            told = []
            for piece in stream:
                told.append(piece.text)
                if piece.text == "Loire":
                    loop.call_soon_threadsafe(read.set)
            assert "".join(told) == stream.text == "The Loire!"
            assert stream.served.resumed_count == 1

    await asyncio.to_thread(use)
