"""What an engine has read, as its node tells it: found again by a door, gone with what the engine forgets."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.api.requests import ChatRequest, CompletionRequest
from edge_node.api.responses_requests import ResponsesRequest, as_chat
from edge_node.engines import ChatMessage, Finished, Generate, Started
from edge_node.kept_prompts import REPORTED_LIMIT_COUNT, KeptPrompts, prompt_text
from edge_node.web.commands import chat_work, completion_work
from origin.prefixes import EVERYBODY, kept_bytes, prompt_marks, unpack_sketch
from origin.web.prompts import OpenAIRequest, prompt_beginning
from registry.bodies import JSON_TYPE, MSGPACK_TYPE

SALT = b"salt"
SYSTEM = "You answer the harbour master's letters, one by one, and never guess. " * 60


def chat(*texts, client="", **more):
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    messages = tuple(ChatMessage(role=role, content=text) for role, text in zip(roles, texts, strict=False))
    return Generate(request_id="1", messages=messages, client=client, **more)


def started(command, cached_tokens=0, cached_from=""):
    return Started(
        request_id="1", prompt_tokens=len(prompt_text(command)) // 4, cached_tokens=cached_tokens,
        cached_from=cached_from, queue_s=0.0, prefill_s=0.1,
    )  # fmt: skip


def finished(remembered_tokens, completion_tokens=1):
    return Finished(
        request_id="1", reason="stop", completion_tokens=completion_tokens, decode_s=0.1,
        remembered_tokens=remembered_tokens,
    )  # fmt: skip


def serve(kept, command, remembered_tokens=10**6):
    reading = kept.read(command, started(command))
    if reading is not None:
        kept.finished(reading, finished(remembered_tokens))


def told(kept, command, client=None):
    """How much of a prompt a door finds in the sketch, for whom."""
    name = command.client if client is None else client
    marks = prompt_marks(prompt_text(command), salt=SALT, client=name, model="chat")
    return kept_bytes(marks, unpack_sketch(kept.sketch()))


@pytest.fixture
def kept():
    kept = KeptPrompts("chat")
    kept.salt_with(SALT)
    return kept


def test_a_shared_beginning_is_found_and_only_for_its_client(kept):
    serve(kept, chat(SYSTEM, "When is high tide?"))
    other = chat(SYSTEM, "Who is in berth 4?")
    assert told(kept, other) > 0.75 * len(SYSTEM)
    assert told(kept, other, client="ann") == told(kept, other, client=EVERYBODY) == 0
    assert told(kept, chat("X" + SYSTEM, "When is high tide?")) == 0


def test_what_is_read_counts_while_its_answer_is_written(kept):
    command = chat(SYSTEM, "When?")
    reading = kept.read(command, started(command))
    assert told(kept, command)
    serve(kept, chat("another " * 300, "?"), remembered_tokens=700)
    assert told(kept, command), "the engine does not count what is at work"
    kept.left(reading)
    serve(kept, chat("a third " * 300, "?"), remembered_tokens=700)
    assert not told(kept, command)


def test_the_coldest_goes_first_and_from_its_end(kept):
    first, second = chat(SYSTEM, "a" * 4000), chat("B" + SYSTEM, "b" * 4000)
    size = started(first).prompt_tokens
    serve(kept, first)
    serve(kept, second)
    serve(kept, chat(SYSTEM, "?"), 2 * size - 800)
    assert 0.75 * len(SYSTEM) < told(kept, first) < len(SYSTEM) + 1500
    assert told(kept, second) > len(SYSTEM)
    serve(kept, chat(SYSTEM, "?"), size)
    assert told(kept, chat(SYSTEM, "?"))
    assert told(kept, second) < len(SYSTEM)


def test_an_engine_that_keeps_nothing_tells_of_nothing(kept):
    serve(kept, chat(SYSTEM, "?"), remembered_tokens=0)
    assert kept.sketch() == b""


def test_what_a_release_brings_is_everybodys_and_stays(kept):
    command = chat(SYSTEM, "When?", client="ann")
    begun = started(command, cached_tokens=len(SYSTEM) // 4, cached_from="release")
    kept.finished(kept.read(command, begun), finished(0))
    found = told(kept, command, client=EVERYBODY)
    assert 0.75 * len(SYSTEM) < found <= len(SYSTEM) + 10
    for number in range(50):
        serve(kept, chat(f"{number} " * 2000, "?"))
    assert told(kept, command, client=EVERYBODY) == found
    kept.forget()
    assert kept.sketch() == b""


def test_without_a_salt_apart_or_in_tokens_nothing_is_noted(kept):
    unsalted = KeptPrompts("chat")
    serve(unsalted, chat(SYSTEM, "?"))
    serve(kept, chat(SYSTEM, "?", deterministic=True))
    serve(kept, Generate(request_id="1", tokens=tuple(range(900))))
    assert (unsalted.sketch(), kept.sketch()) == (b"", b"")


def test_another_salt_forgets_what_the_old_one_marked_and_none_changes_nothing(kept):
    serve(kept, chat(SYSTEM, "?"))
    before = kept.sketch()
    kept.salt_with(b"")
    kept.salt_with(SALT)
    assert kept.sketch() == before != b""
    kept.salt_with(b"new")
    assert kept.sketch() == b""


@given(seed=st.integers(0, 2**32))
def test_a_sketch_is_bounded_sound_and_its_books_are_in_order(seed):
    rng = random.Random(seed)
    kept = KeptPrompts("chat")
    kept.salt_with(SALT)
    at_work, commands = (
        [],
        [chat(str(n) * rng.randrange(1, 9000), "?" * rng.randrange(3000)) for n in range(6)],
    )
    for _ in range(40):
        command = rng.choice(commands)
        if rng.random() < 0.7:
            at_work.append(kept.read(command, started(command, 50, rng.choice(("", "release")))))
        elif at_work:
            over = at_work.pop(rng.randrange(len(at_work)))
            if over is not None and rng.random() < 0.7:
                kept.finished(over, finished(rng.randrange(4000), rng.randrange(300)))
            elif over is not None:
                kept.left(over)
        assert len(kept.sketch()) <= 4 * REPORTED_LIMIT_COUNT == 512
        assert kept._sum_tokens == pytest.approx(sum(kept._tokens.values()), abs=1e-6)
        ends = [number for number in kept._tokens if number >= 0]
        for command in commands:  # never a longer beginning without the shorter
            marks = prompt_marks(prompt_text(command), salt=SALT, client="", model="chat")
            there = [mark.number in ends for mark in marks]
            assert there == sorted(there, reverse=True)


TOOL = {
    "name": "tide",
    "description": "when",
    "parameters": {"type": "object", "properties": {"b": {}, "a": {}}},
}
PARTS = [{"type": "text", "text": "one "}, {"type": "text", "text": "twö"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"a":1}'}}
CHATS = [
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": PARTS}]},
    {"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": ""}]},
    {"messages": [{"role": "user", "content": "s"}], "tools": [{"type": "function", "function": TOOL}]},
    {
        "messages": [{"role": "user", "content": "s"}],
        "tools": [{"type": "function", "function": {"name": "x"}}],
        "tool_choice": "none",
    },
    {"messages": [{"role": "user", "content": "s"}], "tools": None, "tool_choice": None},
    {
        "messages": [
            {"role": "user", "content": "s"},
            {"role": "assistant", "content": "let me see", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "at 4"},
            {"role": "assistant", "content": None, "tool_calls": [CALL, CALL | {"id": "c2"}]},
            {"role": "tool", "tool_call_id": "c1", "content": "at 5"},
            {"role": "tool", "tool_call_id": "c2", "content": "at 6"},
        ]
    },
]
ITEM = {"type": "function_call", "call_id": "c1", "name": "tide", "arguments": "{}"}
RESPONSES = [
    {"input": "hello"},
    {"input": "hello", "instructions": "be kind", "tools": [{"type": "function", **TOOL}]},
    {
        "instructions": None,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
            {"type": "message", "role": "assistant", "content": "let me see"},
            ITEM,
            ITEM | {"call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "at 4"},
        ],
    },
]


def glanced(path, body):
    """What a door sees, in both forms."""
    seen = set()
    for form, codec in ((JSON_TYPE, msgspec.json), (MSGPACK_TYPE, msgspec.msgpack)):
        asked = codec.decode(codec.encode(body), type=OpenAIRequest)
        seen.add(prompt_beginning(asked, path, form))
    (only,) = seen
    return only


@pytest.mark.parametrize("body", CHATS)
def test_door_and_node_see_the_same_chat(body):
    body = {"model": "chat"} | body
    request = msgspec.convert(body, ChatRequest)
    assert glanced("/v1/chat/completions", body) == (prompt_text(chat_work(request, "1").commands[0]), True)


@pytest.mark.parametrize("body", RESPONSES)
def test_door_and_node_see_the_same_in_the_dialect_of_responses(body):
    body = {"model": "chat"} | body
    request = as_chat(msgspec.convert(body, ResponsesRequest))
    assert glanced("/v1/responses", body) == (prompt_text(chat_work(request, "1").commands[0]), True)


@pytest.mark.parametrize("prompt", ["once upon", ["once upon"], "ünd", ""])
def test_door_and_node_see_the_same_text(prompt):
    body = {"model": "chat", "prompt": prompt}
    command = completion_work(msgspec.convert(body, CompletionRequest), "1").commands[0]
    assert glanced("/v1/completions", body) == (prompt_text(command), True)
