"""Streams that tell their tokens, and the rest of answers that were cut off."""

from __future__ import annotations

import json

import msgpack
import pytest

from edge_node.engines import Delta, Finished, Started
from edge_node.engines.resume import Resume

CHAT = "/v1/chat/completions"
ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
RESUMABLE = {"edgeward": {"resumable": True}}
RELEASE = "sha-of-chat-1.2.0"
CUT = {
    "release": RELEASE,
    "tokens": [5, 6],
    "text_chars": 3,
    "id": "chatcmpl-first",
    "created": 1_700_000_000,
}
STARTED = {"request_id": "", "prompt_tokens": 7, "cached_tokens": 3, "queue_s": 0.001, "prefill_s": 0.02}
TELLING = (
    Started(**STARTED),
    Delta("", "Hel", 2, (), (5, 6)),
    Delta("", "lo ✓", 1, (), (9,)),
    Finished(request_id="", reason="stop", completion_tokens=4, decode_s=0.05),
)
REST = (
    Started(**STARTED, resumed_tokens=2, resumed_text="Hel"),
    *TELLING[2:],
)


@pytest.fixture
def ask(front):
    """Asks with these fields, and gives the chunks."""
    front.residents.chat.script = TELLING

    async def ask(path=CHAT, *, framed=False, **fields):
        body = {**(ASK if path == CHAT else {"model": "chat", "prompt": "Hi", "stream": True}), **fields}
        headers = {"Accept": "application/x-edgeward-frames+msgpack"} if framed else {}
        response = await front.client.post(path, json=body, headers=headers)
        raw = await response.read()
        if response.status != 200:
            return response.status, json.loads(raw)["error"]
        if framed:
            unpacker = msgpack.Unpacker()
            unpacker.feed(raw)
            return [chunk for chunk in unpacker if "choices" in chunk]
        return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]

    return ask


def text_of(chunks):
    return "".join(
        choice.get("text", "") or choice.get("delta", {}).get("content") or ""
        for chunk in chunks
        for choice in chunk["choices"]
    )


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
@pytest.mark.parametrize("framed", [False, True])
async def test_each_chunk_tells_its_tokens_and_how_far_it_is(ask, path, framed):
    chunks = await ask(path, framed=framed, **RESUMABLE)
    assert [list(chunk["edgeward"].items()) for chunk in chunks if "edgeward" in chunk] == [
        [("release", RELEASE), ("silence_s", 10.0)],
        [("tokens", [5, 6]), ("text_chars", 3)],
        [("tokens", [9]), ("text_chars", 7)],
    ]
    assert text_of(chunks) == "Hello ✓"


async def test_who_did_not_ask_hears_nothing_of_it(ask):
    for fields in ({}, {"edgeward": None}, {"edgeward": {}}, {"edgeward": {"resumable": False}}):
        assert not any("edgeward" in chunk for chunk in await ask(**fields))


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_the_rest_of_an_answer_keeps_its_name_and_counts_its_tokens_once(ask, front, path):
    front.residents.chat.script = REST
    chunks = await ask(path, edgeward={"resume": CUT}, stream_options={"include_usage": True})
    assert text_of(chunks) == "lo ✓"
    assert {(chunk["id"], chunk["created"]) for chunk in chunks} == {("chatcmpl-first", 1_700_000_000)}
    assert [chunk["edgeward"] for chunk in chunks if "edgeward" in chunk] == [
        {"release": RELEASE, "silence_s": 10.0, "tokens_count": 2, "text_chars": 3},
        {"tokens": [9], "text_chars": 7},
    ]
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    (command,) = front.residents.chat.commands
    assert command.resume == Resume(
        tokens=(5, 6), text_chars=3, release=RELEASE, created_unix_s=1_700_000_000
    )
    page = front.metrics.page().decode()
    assert 'edge_answers_continued_total{after="elsewhere"} 1.0' in page
    assert 'edge_tokens_total{direction="completion"} 2.0' in page  # those that this node made


async def test_a_prompt_is_not_echoed_again(ask, front):
    front.residents.chat.script = REST
    assert text_of(await ask("/v1/completions", echo=True, edgeward={"resume": CUT})) == "lo ✓"


async def test_another_release_does_not_go_on(ask, front):
    status, error = await ask(edgeward={"resume": {**CUT, "release": "another"}})
    assert (status, error["code"], error["param"]) == (409, "resume.mismatched", "edgeward.resume.release")
    status, error = await ask(edgeward={"resume": CUT}, deterministic=True)
    assert (status, error["code"]) == (409, "resume.mismatched")
    assert front.residents.chat.commands == []
    exact = (await ask(**RESUMABLE, deterministic=True))[0]["edgeward"]["release"]
    front.residents.chat.script = REST
    chunks = await ask(edgeward={"resume": {**CUT, "release": exact}}, deterministic=True)
    assert text_of(chunks) == "lo ✓"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"edgeward": {"resumable": True}, "stream": False}, "edgeward.resumable"),
        ({"edgeward": {"resume": CUT}, "stream": False}, "edgeward.resume"),
        ({"edgeward": {"resumable": True}, "n": 2}, "edgeward.resumable"),
        ({"edgeward": {"resume": CUT}, "n": 2}, "edgeward.resume"),
        ({"edgeward": {"resumeable": True}}, "edgeward"),
        ({"edgeward": {"resume": {**CUT, "tokens": [-1]}}}, "edgeward.resume.tokens[...]"),
        ({"edgeward": {"resume": {**CUT, "tokens": [1.5]}}}, "edgeward.resume.tokens[...]"),
        ({"edgeward": {"resume": {**CUT, "text_chars": -1}}}, "edgeward.resume.text_chars"),
        ({"edgeward": {"resume": {**CUT, "id": "a b"}}}, "edgeward.resume.id"),
        ({"edgeward": {"resume": {**CUT, "id": "<script>"}}}, "edgeward.resume.id"),
        ({"edgeward": {"resume": {**CUT, "created": 2**60}}}, "edgeward.resume.created"),
        ({"edgeward": {"resume": {"tokens": []}}}, "edgeward.resume"),
        ({"edgeward": []}, "edgeward"),
    ],
)
async def test_what_cannot_go_on_is_refused_by_name(ask, front, fields, param):
    status, error = await ask(**fields)
    assert status == 400
    assert error["param"].startswith(param.partition("[")[0])
    assert front.residents.chat.commands == []


async def test_calls_of_tools_that_one_piece_gives_are_told_as_one(ask, front):
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]

    def script(*texts, resumed="", count=0):
        return (
            Started(**STARTED, resumed_text=resumed, resumed_tokens=count),
            *(Delta("", text, 1, (), (number,)) for number, text in enumerate(texts, count)),
            Finished(request_id="", reason="stop", completion_tokens=len(texts), decode_s=0.05),
        )

    def said(chunks):
        """Words, and calls put together from their pieces."""
        words, name, ids, arguments = "", "", [], ""
        for chunk in chunks:
            for choice in chunk["choices"]:
                words += choice["delta"].get("content") or ""
                for part in choice["delta"].get("tool_calls", ()):
                    name += part["function"].get("name", "")
                    ids += [part["id"]] if "id" in part else []
                    arguments += part["function"]["arguments"]
        return words, name, ids, arguments

    # A piece for each character, and one that ends the first call and goes into the second.
    texts = ["Well. <tool", *call.removeprefix("<tool")[:-3], call[-3:] + call[:45], *call[45:]]
    front.residents.chat.script = script(*texts)
    whole = await ask(tools=tools, **RESUMABLE)
    assert said(whole)[:2] == ("Well.", "weatherweather")
    marks = [place for place, chunk in enumerate(whole) if "text_chars" in chunk.get("edgeward", {})]
    assert len(marks) > 5
    for place in marks:
        before = whole[: place + 1]
        tokens = [token for chunk in before for token in chunk.get("edgeward", {}).get("tokens", ())]
        count = len(tokens)
        assert tokens == list(range(count))
        resumed = "".join(texts[:count])
        assert before[-1]["edgeward"]["text_chars"] == len(resumed)
        front.residents.chat.script = script(*texts[count:], resumed=resumed, count=count)
        cut = {**CUT, "tokens": tokens, "text_chars": len(resumed), "id": whole[0]["id"]}
        rest = await ask(tools=tools, edgeward={"resume": cut})
        assert said([*before, *rest]) == said(whole)
        assert rest[-1]["choices"][0]["finish_reason"] == "tool_calls"
