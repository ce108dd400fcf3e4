"""Every field that OpenAI's client can send is supported, ignored on purpose or refused with its path."""

from __future__ import annotations

import msgspec
import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from edge_node.api.refusals import (
    NEUTRAL_CHAT,
    NEUTRAL_COMPLETION,
    check_chat,
    check_completion,
    check_embeddings,
)
from edge_node.api.requests import ChatRequest, CompletionRequest, EmbeddingsRequest
from edge_node.engines import ToolCall
from edge_node.errors import RequestInvalidError
from edge_node.web.commands import chat_work, completion_work
from registry.errors import InputInvalidError
from registry.wire import convert, from_json, from_msgpack, to_json, to_msgpack

HI = [{"role": "user", "content": "Hi"}]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def chat(**fields):
    request = convert({"model": "chat", "messages": HI, **fields}, ChatRequest)
    check_chat(request)
    return request


def completion(**fields):
    request = convert({"model": "chat", "prompt": "Hi", **fields}, CompletionRequest)
    check_completion(request)
    return request


def embeddings(**fields):
    request = convert({"model": "e", "input": "Hi", **fields}, EmbeddingsRequest)
    check_embeddings(request)
    return request


@pytest.mark.parametrize(
    ("declared", "ours"),
    [
        (chat_create_params.CompletionCreateParamsStreaming, ChatRequest),
        (completion_create_params.CompletionCreateParamsStreaming, CompletionRequest),
        (embedding_create_params.EmbeddingCreateParams, EmbeddingsRequest),
    ],
)
def test_every_field_of_openai_is_declared(declared, ours):
    theirs = {name for kind in declared.__mro__ for name in getattr(kind, "__annotations__", {})}
    theirs |= set(declared.__required_keys__ | declared.__optional_keys__)
    assert theirs <= {field.name for field in msgspec.structs.fields(ours)}


def test_every_refused_field_is_checked():
    for kind, neutral in ((ChatRequest, NEUTRAL_CHAT), (CompletionRequest, NEUTRAL_COMPLETION)):
        for field in neutral:
            assert field in kind.__struct_fields__


@pytest.mark.parametrize("field", sorted(set(ChatRequest.__struct_fields__) - {"model", "messages"}))
def test_null_is_fine_in_a_chat(field):
    chat(**{field: None})


@pytest.mark.parametrize("field", sorted(set(CompletionRequest.__struct_fields__) - {"model", "prompt"}))
def test_null_is_fine_in_a_completion(field):
    completion(**{field: None})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("audio", {"voice": "alloy", "format": "mp3"}),
        ("modalities", ["text", "audio"]),
        ("prediction", {"type": "content", "content": "x"}),
        ("reasoning_effort", "high"),
        ("verbosity", "low"),
        ("web_search_options", {}),
        ("moderation", {"model": "m"}),
    ],
)
def test_a_chat_is_refused_what_it_would_not_get(field, value):
    with pytest.raises(RequestInvalidError, match="does not support") as caught:
        chat(**{field: value})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"echo": True, "logprobs": 0}, "echo"),
        ({"echo": True, "prompt": [1, 2]}, "echo"),
        ({"prompt": ["a"] * 9, "n": 4}, "n"),
        ({"prompt": ["a"] * 17}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"logprobs": 6}, "logprobs"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
    ],
)
def test_a_completion_is_refused_what_it_would_not_get(fields, param):
    with pytest.raises(InputInvalidError) as caught:
        completion(**fields)
    assert caught.value.param == param


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g"}}
EMPTY = {"name": "x"}
SCHEMA = {"name": "x", "schema": {"type": "string"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": OTHER}, "tool_choice.function.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.type"),
        ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "text", "json_schema": SCHEMA}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": EMPTY}}, "response_format.json_schema.schema"),
        ({"continue_final_message": True}, "continue_final_message"),
    ],
)  # fmt: skip
def test_tools_and_formats_are_refused_with_their_path(fields, param):
    with pytest.raises(InputInvalidError) as caught:
        chat(**fields)
    assert caught.value.param == param


def test_a_schema_that_cannot_be_enforced_is_refused_with_a_pointer():
    wanted = {"name": "x", "schema": {"properties": {"a": {"uniqueItems": True}}}}
    request = chat(response_format={"type": "json_schema", "json_schema": wanted})
    with pytest.raises(RequestInvalidError) as caught:
        chat_work(request, "id")
    assert caught.value.param == "response_format.json_schema.schema#/properties/a/uniqueItems"


def test_what_an_answer_must_look_like_becomes_a_grammar():
    def grammar(**fields):
        return chat_work(chat(**fields), "id").commands[0].sampling.grammar

    assert grammar() is None
    assert grammar(tools=[TOOL], tool_choice="none") is None
    assert grammar(tools=[TOOL]).triggers == ("<tool_call>",)
    assert grammar(tools=[TOOL], tool_choice="required").triggers == ()
    assert "space" not in grammar(response_format={"type": "json_schema", "json_schema": SCHEMA}).text
    either = grammar(tools=[TOOL], response_format={"type": "json_object"})
    assert either.triggers == ()
    assert "<tool_call>" in either.text
    named = grammar(
        tools=[TOOL, {"type": "function", "function": {"name": "other"}}],
        tool_choice={"type": "function", "function": {"name": "other"}},
    )
    assert "other" in named.text
    assert '\\"f\\"' not in named.text


def test_choices_have_their_own_seeds_and_names():
    work = completion_work(completion(prompt=["a", [3]], n=2, seed=2**63 - 1), "id")
    assert [command.request_id for command in work.commands] == ["id", "id.1", "id.2", "id.3"]
    assert [command.sampling.seed for command in work.commands[:2]] == [2**63 - 1, 2**63 - 2]
    assert [(command.text, command.tokens) for command in work.commands[1:3]] == [("a", None), (None, (3,))]
    assert (work.per_prompt_count, work.answers_count) == (2, 2)
    assert completion_work(completion(best_of=3), "id").commands[0].sampling.logprobs_count == 0


def test_neutral_and_harmless_values_pass():
    chat(
        n=1, logprobs=False, top_logprobs=0, tools=[], tool_choice="none", response_format={"type": "text"},
        modalities=["text"], user={"name": "a", "id": 3}, metadata={"k": "v"}, store=True, service_tier="auto",
        safety_identifier="s", prompt_cache_key="p", prompt_cache_retention="24h", parallel_tool_calls=True,
        reasoning_effort="none", verbosity="medium", top_k=40, min_p=0.05,
    )  # fmt: skip
    completion(n=1, best_of=1, echo=False, suffix="", user="me")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1), ("temperature", -0.1), ("temperature", "hot"), ("temperature", float("nan")),
        ("top_p", 0), ("top_p", 1.5), ("presence_penalty", -2.5), ("frequency_penalty", 3), ("top_k", -1),
        ("min_p", 1.1), ("max_tokens", 0), ("max_completion_tokens", 0), ("max_tokens", 1.5),
        ("seed", 2**63), ("seed", 1.5), ("stop", ["a"] * 5), ("stop", ""), ("stream", "yes"), ("model", ""),
        ("messages", []), ("logit_bias", {"a": 1}), ("logit_bias", {"²": 1}), ("stream_options", {}),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_with_its_field(field, value):
    with pytest.raises(InputInvalidError) as caught:
        chat(**{field: value})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
        ({"stream": False, "stream_options": {"include_usage": True}}, "stream_options"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
    ],
)
def test_the_path_leads_to_the_fault(fields, param):
    with pytest.raises(InputInvalidError) as caught:
        chat(**fields)
    assert caught.value.param == param


def test_ends_of_the_ranges_are_inside():
    chat(
        temperature=2, top_p=1, presence_penalty=-2, frequency_penalty=2, seed=-(2**63), max_tokens=1,
        max_completion_tokens=1, stop=["a", "b", "c", "d"], logit_bias={"0": -100, "7": 100},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "user", "content": "x", "tool_call_id": "1"}, "tool_call_id"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "tool_calls"),
        ({"role": "robot", "content": "x"}, "role"),
        ({"role": "user"}, "content"),
        ({"role": "assistant", "content": None}, "content"),
        ({"role": "user", "content": []}, "content"),
        ({"role": "user", "content": 5}, "content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "content[0].type"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {}}]},
            "content[1].type",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}, "tool_calls[0]"),
        ({"role": "user", "content": "x", "colour": "red"}, "colour"),
    ],
)  # fmt: skip
def test_a_message_is_refused_with_its_path(message, param):
    with pytest.raises(InputInvalidError) as caught:
        chat(messages=[*HI, message])
    assert caught.value.param == f"messages[1].{param}"


def test_turns_are_flattened_for_the_engine():
    parts = [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
    ]
    request = chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts, "name": "eva"},
            {"role": "assistant", "content": "c", "refusal": None, "tool_calls": []},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "42", "tool_call_id": "1"},
        ],
        stop="x",
        logit_bias={"12": 3},
    )
    [command] = chat_work(request, "id").commands
    assert [(turn.role, turn.content, turn.name) for turn in command.messages] == [
        ("system", "Be brief.", None),
        ("user", "ab", "eva"),
        ("assistant", "c", None),
        ("assistant", "", None),
        ("tool", "42", None),
    ]
    assert command.messages[3].tool_calls == (ToolCall(id="1", name="f", arguments="{}"),)
    assert command.messages[4].tool_call_id == "1"
    assert (command.text, command.tokens, command.sampling.max_tokens) == (None, None, None)
    assert (command.sampling.stop, command.sampling.logit_bias) == (("x",), {12: 3})


@pytest.mark.parametrize("prompt", ["", [], [""], [[]]])
def test_a_prompt_that_is_not_one_is_refused(prompt):
    with pytest.raises(RequestInvalidError) as caught:
        completion(prompt=prompt)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    ("prompt", "text", "tokens"),
    [("a", "a", None), (["a"], "a", None), ([1, 2], None, (1, 2)), ([[1, 2]], None, (1, 2)), ([5], None, (5,))],
)  # fmt: skip
def test_a_prompt_is_one_text_or_its_tokens(prompt, text, tokens):
    [command] = completion_work(completion(prompt=prompt), "id").commands
    assert (command.text, command.tokens) == (text, tokens)


def test_mixed_prompts_are_refused():
    with pytest.raises(RequestInvalidError):
        completion(prompt=["a", 1])


@pytest.mark.parametrize(
    ("given", "param"),
    [([], "input"), ("", "input"), (["a", ""], "input[1]"), ([15339, 1917], "input[0]"), ([[15339]], "input[0]")],
)  # fmt: skip
def test_an_input_that_is_no_text_is_refused(given, param):
    with pytest.raises(RequestInvalidError) as caught:
        embeddings(input=given)
    assert caught.value.param == param


def test_token_ids_are_refused_with_what_to_do():
    with pytest.raises(RequestInvalidError, match="check_embedding_ctx_length=False"):
        embeddings(input=[[15339, 1917]])


def test_too_many_inputs_are_refused():
    embeddings(input=["a"] * 2048)
    with pytest.raises(RequestInvalidError, match="split"):
        embeddings(input=["a"] * 2049)


def test_json_and_msgpack_say_the_same():
    plain = {"model": "chat", "messages": HI, "temperature": 1, "logit_bias": {"4": -1.5}, "stop": ["é"]}
    assert from_json(to_json(plain), ChatRequest) == from_msgpack(to_msgpack(plain), ChatRequest)
