"""Several choices, log probabilities and calls of tools, through the official client."""

from __future__ import annotations

import json

import openai
import pytest

from edge_node.engines import Choice, Delta, Finished, Started, TokenScore
from edge_node.errors import EngineFailedError

ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
STARTED = Started(request_id="", prompt_tokens=7, cached_tokens=3, queue_s=0.0, prefill_s=0.1)
CALLS = (
    STARTED,
    Delta("", "Let me see.\n<tool", 4),
    Delta("", '_call>\n{"name": "weather", "argu', 5),
    Delta("", 'ments": {"city": "Os', 5),
    Delta("", 'lo"}}\n</tool_call>', 5),
    Finished(request_id="", reason="stop", completion_tokens=19, decode_s=0.1),
)


def score(piece, logprob, *top):
    return TokenScore(Choice(1, piece, logprob), tuple(Choice(2, other, value) for other, value in top))


SCORED = (
    STARTED,
    Delta(
        "",
        "Hé",
        2,
        (
            score(b"H", -0.5, (b"H", -0.5), (b"J", -1.5)),
            score(b"\xc3", -2.0),
            score(b"\xa9", float("-inf")),
        ),
    ),
    Delta("", "!", 1, (score(b"!", -0.25),)),
    Finished(request_id="", reason="length", completion_tokens=3, decode_s=0.1),
)  # fmt: skip


@pytest.fixture
async def api(front):
    async with openai.AsyncOpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
        yield client


async def test_several_choices_count_the_prompt_once(api, front):
    answer = await api.chat.completions.create(**ASK, n=3, seed=5)
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [
        (index, "Hello ✓") for index in range(3)
    ]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 9)
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert [command.sampling.seed for command in front.residents.chat.commands] == [5, 6, 7]
    assert front.residents.held_count == 0


async def test_several_choices_in_a_stream(api):
    stream = await api.chat.completions.create(
        **ASK, n=2, stream=True, stream_options={"include_usage": True}
    )
    texts, reasons, roles = ["", ""], [None, None], [0, 0]
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
            roles[choice.index] += choice.delta.role == "assistant"
        usage = chunk.usage
    assert (texts, reasons, roles) == (["Hello ✓"] * 2, ["stop"] * 2, [1, 1])
    assert (usage.prompt_tokens, usage.completion_tokens) == (7, 6)


async def test_a_choice_that_fails_fails_the_request_and_ends_the_others(api, front):
    front.residents.chat.script = (STARTED, EngineFailedError("the engine died"))
    with pytest.raises(openai.InternalServerError, match="the engine died"):
        await api.chat.completions.create(**ASK, n=2)
    assert front.residents.held_count == 0


async def test_several_prompts_and_echo(api, front):
    answer = await api.completions.create(model="chat", prompt=["One", "Two"], n=2, echo=True)
    assert [choice.text for choice in answer.choices] == ["OneHello ✓"] * 2 + ["TwoHello ✓"] * 2
    assert answer.usage.prompt_tokens == 14
    stream = await api.completions.create(model="chat", prompt="One", echo=True, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "OneHello ✓"
    # The second choice of a prompt begins when the first has read it, so prompts come in between.
    *several, last = [command.text for command in front.residents.chat.commands]
    assert (sorted(several), last) == (["One", "One", "Two", "Two"], "One")


async def test_best_of_tells_the_most_probable_answers(api, front):
    front.residents.chat.scripts = [
        (STARTED, Delta("", text, 1, (score(text.encode(), value),)), SCORED[-1])
        for text, value in (("bad", -3.0), ("best", -0.1), ("good", -0.2))
    ]
    answer = await api.completions.create(model="chat", prompt="x", best_of=3, n=2)
    assert [choice.text for choice in answer.choices] == ["best", "good"]
    assert answer.choices[0].logprobs is None
    assert answer.usage.completion_tokens == 9


async def test_log_probabilities_of_a_chat(api, front):
    front.residents.chat.script = SCORED
    answer = await api.chat.completions.create(**ASK, logprobs=True, top_logprobs=2)
    first, second, third, last = answer.choices[0].logprobs.content
    assert (first.token, first.logprob, first.bytes) == ("H", -0.5, [72])
    assert [(top.token, top.logprob) for top in first.top_logprobs] == [("H", -0.5), ("J", -1.5)]
    assert (second.bytes, third.bytes, third.logprob, last.token) == ([0xC3], [0xA9], -9999.0, "!")
    assert front.residents.chat.commands[0].sampling.logprobs_count == 2
    stream = await api.chat.completions.create(**ASK, logprobs=True, stream=True)
    told = [chunk.choices[0] async for chunk in stream]
    streamed = [token for choice in told if choice.logprobs for token in choice.logprobs.content]
    assert [token.bytes for token in streamed] == [[72], [0xC3], [0xA9], [33]]


async def test_log_probabilities_of_a_completion(api, front):
    front.residents.chat.script = SCORED
    answer = await api.completions.create(model="chat", prompt="x", logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs.tokens == ["H", "bytes:\\xc3", "bytes:\\xa9", "!"]
    assert logprobs.token_logprobs == [-0.5, -2.0, -9999.0, -0.25]
    assert logprobs.top_logprobs[0] == {"H": -0.5, "J": -1.5}
    assert logprobs.text_offset[:2] == [0, 1]


async def test_calls_of_tools(api, front):
    front.residents.chat.script = CALLS
    answer = await api.chat.completions.create(**ASK, tools=[TOOL])
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name, call.function.arguments) == (
        "function",
        "weather",
        '{"city": "Oslo"}',
    )
    assert call.id.startswith("call_")
    [command] = front.residents.chat.commands
    assert json.loads(command.tools[0])["function"]["name"] == "weather"
    assert command.sampling.grammar.triggers == ("<tool_call>",)


async def test_calls_of_tools_in_a_stream(api, front):
    front.residents.chat.script = CALLS
    stream = await api.chat.completions.create(**ASK, tools=[TOOL], stream=True)
    words, arguments, ids, names, reason = "", "", [], [], None
    async for chunk in stream:
        [choice] = chunk.choices
        words += choice.delta.content or ""
        for call in choice.delta.tool_calls or []:
            assert call.index == 0
            arguments += call.function.arguments or ""
            ids += [call.id] if call.id else []
            names += [call.function.name] if call.function.name else []
        reason = choice.finish_reason or reason
    assert (words, arguments, names, reason) == ("Let me see.", '{"city": "Oslo"}', ["weather"], "tool_calls")
    assert len(ids) == 1


async def test_a_named_function_finishes_like_text(api, front):
    front.residents.chat.script = (
        STARTED,
        Delta("", CALLS[1].text[12:] + "".join(d.text for d in CALLS[2:5]), 9),
        CALLS[-1],
    )
    choice = {"type": "function", "function": {"name": "weather"}}
    answer = await api.chat.completions.create(**ASK, tools=[TOOL], tool_choice=choice)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content is None
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


async def test_without_a_call_the_text_is_the_answer(api):
    answer = await api.chat.completions.create(**ASK, tools=[TOOL])
    assert answer.choices[0].message.content == "Hello ✓"
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"
