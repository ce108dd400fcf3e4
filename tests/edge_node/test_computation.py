"""An answer whose engine dies goes on with the next one, and its reader sees nothing of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from edge_node.computation import REVIVAL_WAIT_S
from edge_node.engines import Delta, Finished, Progress, Started
from edge_node.errors import EngineDiedError, EngineFailedError, RequestInvalidError

CHAT = "/v1/chat/completions"
ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "seed": 4}
PIECES = ("Hel", "lo ", "wor", "ld")
DEAD = EngineDiedError("the engine ended at work (SIGKILL)")


def leg(start, *, stop=None, dies=False, tokens=True):
    """What an engine says that goes on after so many pieces."""
    return (
        Started(
            request_id="", prompt_tokens=7, cached_tokens=start, queue_s=0.0, prefill_s=0.02,
            resumed_tokens=start, resumed_text="".join(PIECES[:start]),
        ),
        *(Delta("", PIECES[at], 1, (), (at,) if tokens else ()) for at in range(start, stop or len(PIECES))),
        DEAD if dies else Finished(request_id="", reason="stop", completion_tokens=5, decode_s=0.05),
    )  # fmt: skip


@pytest.fixture
def ask(front):
    async def ask(path=CHAT, *, stream=True, **fields):
        response = await front.client.post(path, json={**ASK, "stream": stream, **fields})
        raw = await response.read()
        if not stream or response.status != 200:
            return response.status, json.loads(raw)
        return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]

    return ask


def text_of(chunks):
    return "".join(
        choice["delta"].get("content", "") for chunk in chunks for choice in chunk.get("choices", ())
    )


@pytest.mark.parametrize("cut", range(len(PIECES) + 1))
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_goes_on_wherever_its_engine_died(ask, front, cut, stream):
    chat = front.residents.chat
    chat.scripts = [leg(0, stop=cut, dies=True) if cut else (leg(0)[0], DEAD), leg(cut)]
    if stream:
        chunks = await ask(stream_options={"include_usage": True})
        assert text_of(chunks) == "Hello world"
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert sum("role" in choice["delta"] for chunk in chunks for choice in chunk["choices"]) == 1
        assert chunks[-1]["usage"]["completion_tokens"] == 5
        assert chunks[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    else:
        status, whole = await ask(stream=False)
        assert (status, whole["choices"][0]["message"]["content"]) == (200, "Hello world")
    first, second = chat.commands
    assert first.resume is None
    assert second.resume.tokens == tuple(range(cut))
    assert second.resume.text_chars == len("".join(PIECES[:cut]))
    assert second.resume.created_unix_s == 1_800_000_000
    assert chat.waits_s == [REVIVAL_WAIT_S]
    page = front.metrics.page().decode()
    assert 'edge_answers_continued_total{after="engine"} 1.0' in page
    assert 'edge_tokens_total{direction="completion"} 5.0' in page
    assert front.scheduler.load("chat", now_s=0.0)[:2] == (0, 0)


async def test_what_a_client_brought_goes_on_too(ask, front):
    front.residents.chat.scripts = [leg(1, stop=2, dies=True), leg(2)]
    cut = {
        "release": "sha-of-chat-1.2.0",
        "tokens": [0],
        "text_chars": 3,
        "id": "c-1",
        "created": 1_700_000_000,
    }
    chunks = await ask(edgeward={"resume": cut})
    assert text_of(chunks) == "lo world"
    again = front.residents.chat.commands[1].resume
    assert (again.tokens, again.created_unix_s) == ((0, 1), 1_700_000_000)


async def test_a_second_death_ends_the_answer_with_an_error(ask, front):
    front.residents.chat.scripts = [leg(0, stop=1, dies=True), leg(1, stop=3, dies=True), leg(3)]
    chunks = await ask()
    assert text_of(chunks) == "Hello wor"
    assert chunks[-1]["error"]["code"] == "engine.failed"
    assert len(front.residents.chat.commands) == 2


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ((DEAD,), "the prompt was not read yet: another node can begin at once"),
        (leg(0, stop=2, dies=True, tokens=False), "nobody knows the tokens"),
        ((leg(0)[0], EngineFailedError("broke, and lives")), "the engine would break again"),
    ],
)
async def test_what_does_not_go_on(ask, front, script, why):
    front.residents.chat.scripts = [script, leg(0)]
    outcome = await ask()
    error = outcome[1]["error"] if isinstance(outcome, tuple) else outcome[-1]["error"]
    assert error["code"] == "engine.failed", why
    assert len(front.residents.chat.commands) == 1


async def test_no_engine_comes_back(ask, front):
    front.residents.chat.comes_back = False
    front.residents.chat.scripts = [leg(0, stop=2, dies=True), leg(2)]
    chunks = await ask()
    assert text_of(chunks) == "Hello "
    assert chunks[-1]["error"]["code"] == "engine.failed"


async def test_a_request_that_ended_engines_before_is_refused_in_the_middle(ask, front):
    refusal = RequestInvalidError("at work in two deaths")
    front.residents.chat.scripts = [leg(0, stop=2, dies=True), (refusal,)]
    chunks = await ask()
    assert chunks[-1]["error"]["code"] == "request.invalid"


async def test_all_who_hear_the_same_answer_hear_it_go_on(make_front, until):
    front = await make_front(cache_bytes=1 << 20)
    gate = asyncio.Event()
    started, hello, *rest = leg(0, stop=2, dies=True)
    front.residents.chat.scripts = [(started, hello, gate, *rest), (Progress(request_id="", ahead_count=0,
        read_tokens=1, prompt_tokens=9), *leg(2))]  # fmt: skip
    asks = [
        asyncio.create_task(front.client.post(CHAT, json={**ASK, "stream": stream}))
        for stream in (True, False, True)
    ]
    await until(front.residents.chat.asked.is_set)
    gate.set()
    for response in await asyncio.gather(*asks):
        assert response.status == 200
        raw = (await response.read()).decode()
        assert "error" not in raw
        assert "ld" in raw
    assert len(front.residents.chat.commands) == 2
    again = await front.client.post(CHAT, json=ASK)  # kept as if nothing had happened
    assert again.headers["x-edgeward-cache"] == "hit"
    assert (await again.json())["choices"][0]["message"]["content"] == "Hello world"


async def test_who_hangs_up_while_the_engine_is_away_gives_his_place_back(front, until):
    front.residents.chat.scripts = [leg(0, stop=2, dies=True)]
    front.residents.chat.comes_back = asyncio.Event()
    response = await front.client.post(CHAT, json={**ASK, "stream": True})
    await until(lambda: bool(front.residents.chat.waits_s))
    response.close()
    await until(
        lambda: front.scheduler.load("chat", now_s=0.0)[:2] == (0, 0) and not front.residents.held_count
    )
