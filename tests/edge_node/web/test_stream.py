"""Streams as they travel: events, comments, frames, zstd, errors in the middle."""

from __future__ import annotations

import asyncio
import io
import json

import msgpack
import pytest
import structlog
import zstandard

from edge_node.engines import Progress
from edge_node.errors import EngineFailedError
from edge_node.server import Limits

CHAT = "/v1/chat/completions"
ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
FRAMES = {"Accept": "application/x-edgeward-frames+msgpack"}
ZSTD = {"x-edgeward-stream-encoding": "zstd"}


def events(raw):
    return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]


def text_of(chunks):
    return "".join(
        choice["delta"].get("content", "") for chunk in chunks for choice in chunk.get("choices", ())
    )


async def test_events_and_their_headers(front):
    response = await front.client.post(CHAT, json=ASK)
    raw = await response.read()
    assert response.headers["Content-Type"] == "text/event-stream"
    assert "Content-Encoding" not in response.headers
    assert response.headers["Server-Timing"] == "queue;dur=1.0, prefill;dur=20.0"
    assert response.headers["x-edgeward-release"] == "chat@1.2.0"
    assert response.headers["x-edgeward-node"] == "node-a"
    assert text_of(events(raw)) == "Hello ✓"
    assert raw.endswith(b"data: [DONE]\n\n")
    assert all(line == b"" or line.startswith(b"data: ") for line in raw.split(b"\n"))


async def test_accept_encoding_alone_does_not_pack_a_stream(front):
    response = await front.client.post(CHAT, json=ASK, headers={"Accept-Encoding": "zstd"})
    assert "Content-Encoding" not in response.headers
    assert text_of(events(await response.read())) == "Hello ✓"


async def test_frames_are_msgpack_maps_one_after_the_other(front):
    response = await front.client.post(CHAT, json=ASK, headers=FRAMES)
    assert response.headers["Content-Type"] == FRAMES["Accept"]
    unpacker = msgpack.Unpacker()
    unpacker.feed(await response.read())
    chunks = list(unpacker)
    assert text_of(chunks) == "Hello ✓"
    assert chunks[-1] == {"object": "edgeward.done"}


@pytest.mark.parametrize("headers", [ZSTD, {**ZSTD, **FRAMES}])
async def test_each_chunk_of_a_packed_stream_can_be_read_when_it_is_sent(front, hello, headers):
    gate = asyncio.Event()
    front.residents.chat.script = (*hello[:2], gate, *hello[2:])
    response = await front.client.post(CHAT, json=ASK, headers=headers)
    assert response.headers["Content-Encoding"] == "zstd"
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    seen = b""
    async with asyncio.timeout(10):
        while b"Hel" not in seen:
            seen += unpacker.decompress(await response.content.readany())
        gate.set()
        while piece := await response.content.readany():
            seen += unpacker.decompress(piece)
    assert unpacker.eof
    assert "lo ✓".encode() in seen
    assert 'edge_payload_bytes_total{stage="zstd"}' in front.metrics.page().decode()


@pytest.mark.parametrize("headers", [{}, FRAMES])
async def test_a_stream_that_waits_shows_signs_of_life(make_front, hello, headers):
    front = await make_front(limits=Limits(stream_patience_s=0, keep_alive_s=0.001))
    gate, second_gate = asyncio.Event(), asyncio.Event()
    front.residents.chat.script = (gate, *hello[:2], second_gate, *hello[2:])
    response = await front.client.post(CHAT, json=ASK, headers=headers)
    assert response.status == 200
    assert "Server-Timing" not in response.headers
    sign = b"queued" if headers else b": queued\n\n"
    seen = b""
    async with asyncio.timeout(10):
        while seen.count(sign) < 2:
            seen += await response.content.readany()
        gate.set()
        while b"answering" not in seen:
            seen += await response.content.readany()
        second_gate.set()
        seen += await response.read()
    if headers:
        unpacker = msgpack.Unpacker()
        unpacker.feed(seen)
        chunks = list(unpacker)
        assert {"object": "edgeward.alive", "state": "queued"} in chunks
    else:
        chunks = events(seen)
    assert text_of(chunks) == "Hello ✓"


@pytest.mark.parametrize("broken", [EngineFailedError("the engine died"), RuntimeError("a bug")])
@pytest.mark.parametrize("headers", [{}, FRAMES, ZSTD])
async def test_a_failure_in_the_middle_is_the_last_event(front, hello, headers, broken):
    front.residents.chat.script = (*hello[:2], broken)
    with structlog.testing.capture_logs():
        response = await front.client.post(CHAT, json=ASK, headers=headers)
        raw = await response.read()
    if headers == ZSTD:
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    if headers == FRAMES:
        unpacker = msgpack.Unpacker()
        unpacker.feed(raw)
        chunks = list(unpacker)
    else:
        chunks = events(raw)
        assert b"[DONE]" not in raw
    assert text_of(chunks) == "Hel"
    expected = "engine.failed" if isinstance(broken, EngineFailedError) else "internal"
    assert chunks[-1]["error"]["code"] == expected
    assert "a bug" not in str(chunks)


async def test_an_engine_that_stops_without_an_end_is_a_failure(front, hello):
    front.residents.chat.script = hello[:2]
    response = await front.client.post(CHAT, json=ASK)
    assert events(await response.read())[-1]["error"]["code"] == "engine.failed"


@pytest.mark.parametrize("headers", [{}, FRAMES])
async def test_a_stream_tells_how_far_it_is(front, hello, headers):
    """Once the engine has said so, a stream need not wait for its patience to end."""
    gates = [asyncio.Event(), asyncio.Event()]
    told = [
        Progress(request_id="", ahead_count=ahead, read_tokens=read, prompt_tokens=200)
        for ahead, read in ((3, 0), (0, 90))
    ]
    front.residents.chat.script = (told[0], gates[0], told[1], gates[1], *hello)
    response = await front.client.post(CHAT, json={**ASK, "stream": True}, headers=headers)
    seen = await response.content.readany()
    gates[0].set()
    while b"45" not in seen and b"percent" not in seen:
        seen += await response.content.readany()
    gates[1].set()
    seen += await response.read()
    if headers:
        signs = [sign for sign in msgpack.Unpacker(io.BytesIO(seen)) if sign["object"] == "edgeward.alive"]
        assert signs[:1] == [{"object": "edgeward.alive", "state": "queued", "place": 3}]
        assert signs[-1] == {"object": "edgeward.alive", "state": "reading", "percent": 45}
    else:
        assert seen.startswith(b": queued place=3\n\n")
        assert b": reading percent=45\n\n" in seen
        assert seen.endswith(b"data: [DONE]\n\n")
