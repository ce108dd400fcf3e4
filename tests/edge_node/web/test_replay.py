"""Kept answers over HTTP: what is kept, who gets it, what is said about it."""

from __future__ import annotations

import asyncio
import io
import json

import msgpack
import msgspec
import pytest
import structlog
import zstandard

from edge_node.engines import Delta, Finished, Started
from edge_node.errors import EngineFailedError
from edge_node.server import Limits

CHAT = "/v1/chat/completions"
ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
STREAM = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
FRAMES = {"Accept": "application/x-edgeward-frames+msgpack"}
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
async def front(make_front):
    return await make_front(cache_bytes=2**20)


async def ask(front, body=ASK, **headers):
    response = await front.client.post(CHAT, json=body, headers={**PLAIN, **headers})
    return response, await response.read()


def computed_count(front):
    return len(front.residents.chat.commands)


def events(data):
    return [line for line in data.decode().split("\n\n") if line.startswith("data: ")]


async def test_the_same_question_is_computed_once_and_the_answer_stays_the_same_one(front):
    responses = [await ask(front) for _ in range(4)]
    assert computed_count(front) == 1
    assert len({body for _, body in responses}) == 1
    assert [response.headers["x-edgeward-cache"] for response, _ in responses] == [
        "miss",
        "hit",
        "hit",
        "hit",
    ]
    assert responses[0][0].headers["Cache-Status"] == "edgeward; fwd=miss"
    assert "Age" not in responses[0][0].headers
    assert len({response.headers["x-request-id"] for response, _ in responses}) == 4
    for response, _ in responses[1:]:
        assert response.headers["Cache-Status"] == "edgeward; hit"
        assert response.headers["Age"] == "0"
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["ETag"] == responses[0][0].headers["ETag"]
        assert response.headers["x-edgeward-release"] == "chat@1.2.0"
        assert response.headers["x-edgeward-node"] == "node-a"
        assert response.headers["Content-Type"].partition(";")[0] == "application/json"
        assert "cache;desc=hit" in response.headers["Server-Timing"]
        assert response.headers["Vary"] == "Accept, Accept-Encoding"
        assert "Date" in response.headers
    page = await (await front.client.get("/metrics")).text()
    assert 'edge_cache_requests_total{state="hit"} 3.0' in page
    assert 'edge_requests_total{code="200",model="chat",route="/v1/chat/completions"} 4.0' in page
    assert 'edge_cache_tokens_total{direction="completion"} 9.0' in page
    assert 'edge_tokens_total{direction="completion"} 3.0' in page
    assert "edge_cache_entries 2.0" in page


async def test_what_chance_decides_is_not_kept_unless_its_seed_is_given(front):
    for body, state in (
        ({**ASK, "temperature": 0.7}, "bypass"),
        ({**ASK, "temperature": 0.7, "seed": 5}, "miss"),
    ):
        response, _ = await ask(front, body)
        assert response.headers["x-edgeward-cache"] == state
        assert response.headers["Cache-Control"] == ("no-store" if state == "bypass" else "private, no-cache")


async def test_whole_and_streamed_are_told_from_one_entry(front):
    whole = json.loads((await ask(front))[1])
    streams = [(await ask(front, STREAM))[1] for _ in range(3)]
    assert computed_count(front) == 1
    assert streams[0] == streams[1] == streams[2]
    chunks = [json.loads(line[6:]) for line in events(streams[2])[:-1]]
    assert {chunk["id"] for chunk in chunks} == {whole["id"]}
    assert {chunk["created"] for chunk in chunks} == {whole["created"]}
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:-1]] == ["", "Hel", "lo ✓", None]
    assert chunks[-1]["usage"] == whole["usage"]


async def test_a_stream_is_replayed_with_the_same_chunks_and_told_whole(front):
    first, again = (await ask(front, STREAM))[1], (await ask(front, STREAM))[1]
    assert events(first) == events(again)
    assert json.loads((await ask(front))[1])["choices"][0]["message"]["content"] == "Hello ✓"
    assert computed_count(front) == 1


async def test_frames_are_replayed_in_their_form_and_in_zstd_for_who_asks(front):
    bodies = []
    for _ in range(3):
        response, body = await ask(front, STREAM, **FRAMES)
        bodies.append(body)
    assert response.headers["Content-Type"] == FRAMES["Accept"]
    assert bodies[0] == bodies[1] == bodies[2]
    assert list(msgpack.Unpacker(io.BytesIO(body)))[-1] == {"object": "edgeward.done"}
    asked = {**PLAIN, "x-edgeward-stream-encoding": "zstd"}
    plain = [await ask(front, STREAM) for _ in range(3)][-1][1]
    response, packed = await ask(front, STREAM, **asked)
    assert response.headers["Content-Encoding"] == "zstd"
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == plain
    assert computed_count(front) == 1


async def test_signs_of_life_are_not_kept(make_front, hello):
    front = await make_front(cache_bytes=2**20, limits=Limits(stream_patience_s=0, keep_alive_s=0.001))
    gate = asyncio.Event()
    front.residents.chat.script = (gate, *hello)
    asking = [asyncio.create_task(ask(front, STREAM)) for _ in range(2)]
    watched = await front.client.post(CHAT, json=STREAM)
    seen = b""
    while b": queued" not in seen:
        seen += await watched.content.readany()
    gate.set()
    assert all(b": queued" in body for _, body in [await task for task in asking])
    await watched.read()
    assert b": " not in (await ask(front, STREAM))[1].replace(b"data: ", b"")
    assert computed_count(front) == 1


async def test_a_large_answer_is_sent_as_it_is_kept(front):
    content = "word " * 600
    front.residents.chat.script = (
        Started(request_id="", prompt_tokens=1, cached_tokens=0, queue_s=0, prefill_s=0),
        Delta("", content, 600),
        Finished(request_id="", reason="length", completion_tokens=600, decode_s=1),
    )
    plain = [await ask(front) for _ in range(3)]
    packed = [await ask(front, **{"Accept-Encoding": "gzip, zstd"}) for _ in range(2)]
    none = await ask(front, **{"Accept-Encoding": "zstd;q=0"})
    assert computed_count(front) == 1
    assert {body for _, body in [*plain, none]} == {plain[0][1]}
    for response, body in packed:
        assert response.headers["Content-Encoding"] == "zstd"
        assert response.headers["ETag"] == plain[0][0].headers["ETag"][:-1] + '-zstd"'
        assert zstandard.ZstdDecompressor().decompressobj().decompress(body) == plain[0][1]
    assert front.cache.used_bytes < 2500


@pytest.mark.parametrize("asked_before_count", [1, 2, 3])
async def test_who_has_it_already_is_told_so(front, asked_before_count):
    for _ in range(asked_before_count):
        response, _ = await ask(front)
    tag = response.headers["ETag"]
    response, body = await ask(front, **{"If-None-Match": f'"other", {tag}'})
    assert (response.status, body, response.headers["ETag"]) == (304, b"", tag)
    response, _ = await ask(front, **{"If-None-Match": '"other"'})
    assert response.status == 200
    assert computed_count(front) == 1


async def test_the_requests_own_terms(front):
    await ask(front)
    for header, state, count in (
        ("max-age=600", "hit", 1), ("no-store", "bypass", 2), ("no-cache", "miss", 3), ("max-age=0", "miss", 4),
    ):  # fmt: skip
        response, _ = await ask(front, **{"Cache-Control": header})
        assert (response.headers["x-edgeward-cache"], computed_count(front)) == (state, count)
    assert response.headers["Cache-Status"] == "edgeward; fwd=request"
    assert (await ask(front, **{"Cache-Control": "only-if-cached"}))[0].status == 200
    response, body = await ask(
        front, {**ASK, "seed": 2, "temperature": 1}, **{"Cache-Control": "only-if-cached"}
    )
    assert (response.status, json.loads(body)["error"]["code"]) == (504, "cache.missing")
    assert computed_count(front) == 4


async def test_a_new_answer_replaces_the_kept_one(front):
    old = json.loads((await ask(front))[1])["id"]
    new = json.loads((await ask(front, **{"Cache-Control": "no-cache"}))[1])["id"]
    assert json.loads((await ask(front))[1])["id"] == new != old


@pytest.mark.parametrize(
    "end",
    [
        EngineFailedError("died"),
        Finished(request_id="", reason="cancelled", completion_tokens=1, decode_s=0.1),
        RuntimeError("bug"),
    ],
)
@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_what_failed_or_was_cut_off_is_not_kept(front, hello, end, body):
    front.residents.chat.script = (*hello[:2], end)
    with structlog.testing.capture_logs():
        for _ in range(2):
            response, data = await ask(front, body)
            assert response.status >= 500 or b"error" in data
    assert len(front.cache) == 0
    front.residents.chat.script = hello
    assert (await ask(front, body))[0].headers["x-edgeward-cache"] == "miss"


async def test_each_key_has_answers_of_its_own(front):
    states = []
    for key in ("", "Bearer a", "Bearer b", "Bearer a", "Bearer a", ""):
        headers = {"Authorization": key} if key else {}
        states.append((await ask(front, **headers))[0].headers["x-edgeward-cache"])
    assert states == ["miss", "miss", "miss", "hit", "hit", "hit"]
    clients = [command.client for command in front.residents.chat.commands]
    assert clients[0] == ""
    assert len({*clients}) == 3
    assert not any("Bearer" in client for client in clients)


async def test_another_release_or_engine_answers_anew(front):
    for _ in range(3):
        await ask(front)
    chat = front.residents.chat
    chat.version = "1.3.0"
    response, body = await ask(front)
    assert (response.headers["x-edgeward-cache"], json.loads(body)["model"]) == ("miss", "chat@1.3.0")
    chat.ready = msgspec.structs.replace(chat.ready, fingerprint="another build")
    assert (await ask(front))[0].headers["x-edgeward-cache"] == "miss"


async def test_those_who_ask_at_once_share_one_computation(front, hello, until):
    gate = asyncio.Event()
    front.residents.chat.script = (*hello[:2], gate, *hello[2:])
    asking = [asyncio.create_task(ask(front, body)) for body in (ASK, STREAM, ASK, STREAM, ASK, STREAM)]
    await until(lambda: front.residents.chat.commands)
    leader = await front.client.post(CHAT, json=STREAM)  # joins in the middle, and leaves
    while b"Hel" not in await leader.content.readany():
        pass
    leader.close()
    gate.set()
    answers = [await task for task in asking]
    assert computed_count(front) == 1
    assert sorted(response.headers["x-edgeward-cache"] for response, _ in answers) == ["coalesced"] * 5 + [
        "miss"
    ]
    assert len({body for _, body in answers[::2]}) == 1
    assert json.loads(answers[0][1])["choices"][0]["message"]["content"] == "Hello ✓"
    assert all(events(body) == events(answers[1][1]) for _, body in answers[1::2])
    assert front.scheduler.load("chat", now_s=0.0)[:2] == (0, 0)


async def test_the_one_who_began_may_go_and_the_others_get_all(front, hello, until):
    gate = asyncio.Event()
    front.residents.chat.script = (*hello[:2], gate, *hello[2:])
    leader = asyncio.create_task(ask(front, ASK))
    await until(lambda: front.residents.chat.commands)
    follower = asyncio.create_task(ask(front, STREAM))
    await until(lambda: front.residents.held_count and len(asyncio.all_tasks()) > 6)
    leader.cancel()
    await until(lambda: 'code="499"' in front.metrics.page().decode() or not leader.done())
    gate.set()
    assert len(events((await follower)[1])) == 6
    assert computed_count(front) == 1


async def test_vectors_are_kept_too(front):
    body = {"model": "team/embed", "input": ["some text"]}
    answers = []
    for _ in range(3):
        response = await front.client.post("/v1/embeddings", json=body, headers=PLAIN)
        answers.append((response.headers["x-edgeward-cache"], await response.read()))
    assert [state for state, _ in answers] == ["miss", "hit", "hit"]
    assert len({data for _, data in answers}) == 1
    assert len(front.residents.embed.commands) == 1


async def test_a_body_that_comes_in_pieces_is_known_again(front):
    async def pieces():
        data = json.dumps(ASK).encode()
        yield data[:20]
        await asyncio.sleep(0)
        yield data[20:]

    states = []
    for _ in range(3):
        response = await front.client.post(CHAT, data=pieces(), headers={"Content-Type": "application/json"})
        await response.read()
        states.append(response.headers["x-edgeward-cache"])
    assert states == ["miss", "hit", "hit"]
    assert 'edge_cache_requests_total{state="hit"} 2.0' in front.metrics.page().decode()


async def test_a_thousand_hits_write_a_few_lines_that_tell_of_all(front):
    with structlog.testing.capture_logs() as lines:
        for _ in range(60):
            await ask(front)
    wide = [line for line in lines if line["event"] == "request.answered"]
    assert len(wide) < 60
    assert len(wide) + sum(line.get("unlogged_count", 0) for line in wide) <= 60
    assert "Hi" not in str(lines)


async def test_nothing_is_kept_where_there_is_no_room(make_front):
    front = await make_front(cache_bytes=0)
    for _ in range(2):
        assert (await ask(front))[0].headers["x-edgeward-cache"] == "bypass"
    assert computed_count(front) == 2


async def test_an_answer_over_the_size_of_a_buffer_arrives_whole(front):
    content = "".join(f"{number} " for number in range(40_000))
    front.residents.chat.script = (
        Started(request_id="", prompt_tokens=1, cached_tokens=0, queue_s=0, prefill_s=0),
        Delta("", content, 40_000),
        Finished(request_id="", reason="stop", completion_tokens=40_000, decode_s=1),
    )
    answers = [json.loads((await ask(front))[1]) for _ in range(3)]
    assert answers[2]["choices"][0]["message"]["content"] == content
    assert answers[0] == answers[1] == answers[2]
    assert 'edge_cache_requests_total{state="hit"} 2.0' in front.metrics.page().decode()
