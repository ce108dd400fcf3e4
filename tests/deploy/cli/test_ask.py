"""`edgeward ask` before anybody is asked: schemas, and words for waiting."""

import argparse
import json
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest

from deploy.cli import ask
from deploy.cli.terminal import passing
from edge_node.client import Served, Usage, Waiting
from edge_node.errors import PromptTooLongError


@pytest.mark.parametrize(
    ("text", "words"), [(None, "No such file"), ("{", "is not JSON"), ("[" * 9999, "not JSON")]
)
def test_a_schema_that_cannot_be_read_is_one_line(tmp_path, edgeward, text, words):
    file = tmp_path / "schema.json"
    if text is not None:
        file.write_text(text)
    code, out, err = edgeward("ask", "x", "--json-schema", str(file))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert words in err


async def test_what_is_asked(tmp_path, monkeypatch):
    file = tmp_path / "schema.json"
    file.write_text(json.dumps({"type": "integer"}))
    assert ask._format(str(file)) == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "integer"}, "strict": True},
    }


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        (Waiting(state="queued"), "queued"),
        (Waiting(state="queued", place=3, eta_s=12.4), "queued, 3 before this one, about 12 s"),
        (Waiting(state="reading", percent=40), "reading the question: 40 %"),
    ],
)
def test_waiting_in_words(waiting, words):
    assert ask._waiting_in_words(waiting) == words


def served(**more):
    return Served(
        **{
            "node_id": "n", "url": "http://n", "label": "Paris", "release": "chat@1", "distance_km": None,
            "rtt_ms": 2.0, "ttft_ms": 20.0, "total_ms": 1020.0, "attempts": 1,
        } | more
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ("", "41 tokens · 40.0 tokens/s"),
        ("miss", "41 tokens · 40.0 tokens/s"),
        ("bypass", "41 tokens · 40.0 tokens/s"),
        # Nobody wrote these tokens while they were waited for: a rate would say how fast bytes come over the wire.
        ("hit", "41 tokens · kept answer"),
        ("coalesced", "41 tokens · answer already under way"),
    ],
)
def test_a_rate_is_told_of_an_answer_that_was_written_for_this_question_alone(cache, words):
    stream = SimpleNamespace(served=served(cache=cache), usage=Usage(prompt_tokens=9, completion_tokens=41))
    assert ask._in_words(stream) == f"Paris (n) · chat@1 · first token after 20 ms · {words}"


def test_a_passing_line_is_for_terminals_alone(capsys, monkeypatch):
    passing("queued")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    passing("queued\x1b[2J")
    passing("")
    shown = capsys.readouterr().err
    assert "queued" in shown
    assert "\x1b[2J" not in shown
    assert shown.endswith("\r\x1b[K")


class FullClient:
    """Its model has room for the prompt and so many tokens."""

    def __init__(self, room_tokens):
        self.room_tokens = room_tokens
        self.asked = []

    def stream_chat(self, messages, *, model=None, **sampling):
        return FullStream(self, sampling)


class FullStream:
    def __init__(self, client, sampling):
        self.client, self.sampling = client, sampling

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def open(self):
        self.client.asked.append(self.sampling)
        if self.sampling.get("max_tokens", 1) > self.client.room_tokens:
            raise PromptTooLongError("too long")


async def begun(client, *words):
    parser = argparse.ArgumentParser()
    ask.add_arguments(parser)
    args = parser.parse_args(["x", *words])
    async with AsyncExitStack() as stack:
        await ask._begun(stack, client, [], args, ask._sampling(args))
    return client.asked


async def test_an_answer_ends_somewhere_though_nobody_says_where():
    assert await begun(FullClient(4000)) == [{"max_tokens": 512}]
    assert await begun(FullClient(4000), "--max-tokens", "0") == [{}]
    assert await begun(FullClient(4000), "--max-tokens", "7", "--seed", "1") == [{"max_tokens": 7, "seed": 1}]


async def test_a_limit_that_nobody_asked_for_refuses_no_long_prompt():
    assert await begun(FullClient(100), "--temperature", "0") == [
        {"max_tokens": 512, "temperature": 0.0},
        {"temperature": 0.0},
    ]
    for client, words in ((FullClient(100), ("--max-tokens", "200")), (FullClient(0), ())):
        with pytest.raises(PromptTooLongError):
            await begun(client, *words)


def test_the_limit_is_told_beforehand(edgeward):
    assert "(default: 512)" in edgeward("ask", "--help")[1]
