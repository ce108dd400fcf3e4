"""`/v1/responses` through the official client."""

from __future__ import annotations

import openai
import pytest

from edge_node.engines import Choice, Delta, Finished, Started, TokenScore

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
STARTED = Started(request_id="", prompt_tokens=7, cached_tokens=3, queue_s=0.0, prefill_s=0.1)
CALLS = (
    STARTED,
    Delta("", 'Wait.\n<tool_call>\n{"name": "weather", "arguments": {"ci', 9),
    Delta("", 'ty": 1}}\n</tool_call>', 9),
    Finished(request_id="", reason="stop", completion_tokens=18, decode_s=0.1),
)


@pytest.fixture
async def api(front):
    async with openai.AsyncOpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
        yield client


async def test_a_response(api, front):
    answer = await api.responses.create(
        model="chat",
        instructions="Be brief.",
        input="Hi",
        max_output_tokens=9,
        metadata={"a": "b"},
        store=False,
    )
    assert (answer.output_text, answer.status, answer.model) == ("Hello ✓", "completed", "chat@1.2.0")
    assert answer.id.startswith("resp_")
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert answer.usage.input_tokens_details.cached_tokens == 3
    assert (answer.metadata, answer.store, answer.instructions) == ({"a": "b"}, False, "Be brief.")
    [command] = front.residents.chat.commands
    assert [(turn.role, turn.content) for turn in command.messages] == [
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    assert command.sampling.max_tokens == 9


async def test_the_events_of_a_text(api):
    stream = await api.responses.create(model="chat", input="Hi", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert events[6].text == "Hello ✓"
    assert events[-1].response.output_text == "Hello ✓"
    assert events[-1].response.usage.total_tokens == 10
    assert len({event.item_id for event in events[3:8]}) == 1


async def test_calls_whole_and_streamed(api, front):
    front.residents.chat.script = CALLS
    answer = await api.responses.create(model="chat", input="Hi", tools=[TOOL])
    message, call = answer.output
    assert (message.content[0].text, call.name, call.arguments) == ("Wait.", "weather", '{"city": 1}')
    stream = await api.responses.create(model="chat", input="Hi", tools=[TOOL], stream=True)
    events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == '{"city": 1}'
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.type for item in done] == ["message", "function_call"]
    assert done[1].call_id.startswith("call_")
    assert events[-1].response.output[1].arguments == '{"city": 1}'


async def test_a_conversation_with_calls_is_told_as_a_chat(api, front):
    await api.responses.create(
        model="chat",
        input=[
            {"role": "developer", "content": "D"},
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "c"}],
                "id": "m",
            },
            {
                "type": "function_call",
                "call_id": "1",
                "name": "weather",
                "arguments": "{}",
                "status": "completed",
            },
            {"type": "function_call", "call_id": "2", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "wet"},
        ],
        tools=[TOOL],
    )
    turns = front.residents.chat.commands[0].messages
    assert [(turn.role, turn.content) for turn in turns] == [
        ("system", "D"), ("user", "ab"), ("assistant", "c"), ("tool", "wet"),
    ]  # fmt: skip
    assert [call.id for call in turns[2].tool_calls] == ["1", "2"]


async def test_an_answer_cut_short_is_incomplete(api, front):
    front.residents.chat.script = (
        STARTED,
        Delta("", "He", 1, (TokenScore(Choice(1, b"He", -0.5), ()),)),
        Finished(request_id="", reason="length", completion_tokens=1, decode_s=0.1),
    )
    include = ["message.output_text.logprobs"]
    answer = await api.responses.create(model="chat", input="Hi", include=include)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[0].content[0].logprobs[0].token == "He"
    stream = await api.responses.create(model="chat", input="Hi", include=include, stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.incomplete"
    assert events[4].logprobs[0].logprob == -0.5


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"not": {}}}}}, "text.format.schema#/not"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ],
)  # fmt: skip
async def test_what_is_not_done_is_refused_in_the_words_of_this_dialect(api, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        await api.responses.create(**{"model": "chat", "input": "Hi", **fields})
    assert caught.value.param == param
