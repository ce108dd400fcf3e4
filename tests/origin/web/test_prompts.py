"""A glance at prompts: bounded, and nothing in a request makes it fail."""

import random

import msgspec
import pytest

from origin.prefixes import MARKED_LIMIT_BYTES
from origin.prompt_text import turns_text
from origin.web.prompts import OpenAIRequest, prompt_beginning
from registry.bodies import JSON_TYPE, MSGPACK_TYPE

CHAT = "/v1/chat/completions"
SAID = {"role": "system", "content": "be kind"}
PATHS = [CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings"]


def beginning(body, path=CHAT, form=JSON_TYPE):
    codec = msgspec.json if form == JSON_TYPE else msgspec.msgpack
    return prompt_beginning(codec.decode(codec.encode(body), type=OpenAIRequest), path, form)


@pytest.mark.parametrize(
    "strange",
    [5, "text", {"role": 5}, {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, [], None,
     {"role": "user", "content": {"text": "x"}}, {"role": "assistant", "tool_calls": [{"function": 1}]}],
)  # fmt: skip
def test_what_comes_before_something_strange_is_a_beginning_all_the_same(strange):
    text, whole = beginning({"model": "chat", "messages": [SAID, strange, SAID]})
    assert (text, whole) == (turns_text([("system", "be kind")]), False)


@pytest.mark.parametrize("tools", [5, "x", [5], [{"function": "x"}], {"a": 1}])
def test_tools_that_are_not_understood_leave_nothing(tools):
    assert beginning({"model": "chat", "messages": [SAID], "tools": tools}) == (b"", False)


def test_only_so_much_is_read():
    long = {"role": "user", "content": "x" * 100_000}
    text, whole = beginning({"model": "chat", "messages": [long] * 4})
    assert (len(text), whole) == (MARKED_LIMIT_BYTES, False)
    assert beginning({"model": "chat", "messages": [long] * 10}) == (b"", False), "not even cut up"
    text, whole = beginning({"model": "chat", "prompt": "x" * 300_000}, "/v1/completions")
    assert (len(text), whole) == (MARKED_LIMIT_BYTES, False)


def test_what_embeds_has_no_beginning_that_is_kept():
    assert beginning({"model": "embed", "input": "x" * 5000}, "/v1/embeddings") == (b"", True)


NAMES = ["role", "content", "text", "type", "function", "name", "tool_calls", "output", "arguments"]


def anything(rng, depth):
    plain = (None, True, -3, 2.5, "", "text", "function_call", "message")
    kind = rng.randrange(3) if depth else 0
    if kind == 1:
        return [anything(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 2:
        return {name: anything(rng, depth - 1) for name in rng.sample(NAMES, rng.randrange(5))}
    return rng.choice(plain)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_request_holds_nothing_is_refused_here(seed):
    rng = random.Random(seed)
    for _ in range(25):
        fields = ["messages", "prompt", "input", "instructions", "tools", "tool_choice"]
        body = {"model": "chat"} | {name: anything(rng, 4) for name in rng.sample(fields, 4)}
        text, whole = beginning(body, rng.choice(PATHS), rng.choice([JSON_TYPE, MSGPACK_TYPE]))
        assert isinstance(text, bytes)
        assert isinstance(whole, bool)


def test_bytes_that_are_no_text_and_nests_without_end_are_passed_over():
    for content in (b'"\xff"', b"[" * 900 + b"]" * 900):
        data = b'{"model":"chat","messages":[{"role":"user","content":' + content + b"}]}"
        asked = msgspec.json.decode(data, type=OpenAIRequest)
        assert isinstance(prompt_beginning(asked, CHAT, JSON_TYPE)[0], bytes)
