"""Drives a node with the official client, 2.x or 3.x, synchronous and asynchronous."""

import asyncio
import json
import math
import sys

import openai
from pydantic import BaseModel, Field

URL = sys.argv[1] + "/v1"
HI = [{"role": "user", "content": "Say hello."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 12},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=18, le=99)


client = openai.OpenAI(base_url=URL, api_key="none", max_retries=0)


def expect(kind, call, **facts):
    try:
        call()
    except kind as error:
        for name, value in facts.items():
            assert getattr(error, name) == value, (name, getattr(error, name), value)
        assert error.request_id
        return
    raise AssertionError(f"no {kind.__name__}")


def chats():
    chat = client.chat.completions
    whole = chat.create(model="chat", messages=HI, max_completion_tokens=12, temperature=0, seed=1)
    assert whole.choices[0].message.content
    assert whole.choices[0].finish_reason in {"stop", "length"}
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    stream = chat.create(
        model="chat",
        messages=HI,
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert (
        "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        == whole.choices[0].message.content
    )
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    several = chat.create(model="chat", messages=HI, n=3, max_tokens=8, seed=7, temperature=1.2, stop=["\n"])
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert not any("\n" in choice.message.content for choice in several.choices)
    scored = chat.create(
        model="chat", messages=HI, logprobs=True, top_logprobs=4, max_tokens=5, temperature=0
    )
    tokens = scored.choices[0].logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == scored.choices[0].message.content
    assert all(len(token.top_logprobs) == 4 and token.logprob <= 0 for token in tokens)
    banned = int(tokens[0].logprob < 0)
    assert banned in {0, 1}
    raw = chat.with_raw_response.create(model="chat", messages=HI, max_tokens=2)
    assert raw.headers["x-edgeward-release"] == "chat@1.0.0"
    assert raw.parse().model == "chat@1.0.0"


def tools():
    chat = client.chat.completions
    forced = {"type": "function", "function": {"name": "get_weather"}}
    asked = [{"role": "user", "content": "What is the weather in Oslo?"}]
    answer = chat.create(model="chat", messages=asked, tools=[TOOL], tool_choice=forced, max_tokens=120)
    [call] = answer.choices[0].message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "days"} and 1 <= arguments["days"] <= 7
    required = chat.create(
        model="chat",
        messages=asked,
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=120,
    )
    assert required.choices[0].finish_reason == "tool_calls"
    with chat.stream(
        model="chat",
        messages=asked,
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=120,
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    parsed = final.choices[0].message.tool_calls[0].function.parsed_arguments
    assert set(parsed) == {"city", "days"}
    conversation = [
        *asked,
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 3 degrees."},
    ]
    assert (
        chat.create(model="chat", messages=conversation, tools=[TOOL], tool_choice="none", max_tokens=20)
        .choices[0]
        .message.content
    )
    free = chat.create(model="chat", messages=HI, tools=[TOOL], max_tokens=20)
    assert free.choices[0].message.content or free.choices[0].message.tool_calls


def structured():
    parse = client.chat.completions.parse
    asked = [{"role": "user", "content": "Invent a person. Answer with JSON."}]
    for seed in range(5):
        person = parse(
            model="chat", messages=asked, response_format=Person, seed=seed, temperature=1.5, max_tokens=120
        )
        found = person.choices[0].message.parsed
        assert isinstance(found, Person) and 18 <= found.age <= 99
    plain = client.chat.completions.create(
        model="chat", messages=asked, response_format={"type": "json_object"}, max_tokens=200, temperature=0
    )
    assert plain.choices[0].finish_reason == "length" or isinstance(
        json.loads(plain.choices[0].message.content), dict
    )


def completions():
    made = client.completions.create(
        model="chat", prompt=["One, two,", "Red, green,"], max_tokens=4, n=2, echo=True
    )
    assert len(made.choices) == 4
    assert made.choices[2].text.startswith("Red, green,")
    scored = client.completions.create(
        model="chat", prompt="One, two, three,", max_tokens=3, logprobs=2, temperature=0
    )
    assert "".join(scored.choices[0].logprobs.tokens) == scored.choices[0].text
    best = client.completions.create(model="chat", prompt="Once", max_tokens=3, best_of=3, temperature=1.3)
    assert len(best.choices) == 1
    stream = client.completions.create(model="chat", prompt=[1, 2, 3], max_tokens=4, stream=True)
    assert list(stream)[-1].choices[0].finish_reason


def responses():
    whole = client.responses.create(model="chat", input="Say hello.", max_output_tokens=10, temperature=0)
    assert whole.output_text
    assert whole.status in {"completed", "incomplete"}
    with client.responses.stream(
        model="chat", input="Say hello.", max_output_tokens=10, temperature=0
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response() if kinds[-1] == "response.completed" else None
    assert kinds[0] == "response.created"
    assert kinds[-1] in {"response.completed", "response.incomplete"}
    assert final is None or final.output_text == whole.output_text
    parsed = client.responses.parse(
        model="chat", input="Invent a person.", text_format=Person, max_output_tokens=120, temperature=1.5
    )
    assert 18 <= parsed.output_parsed.age <= 99
    tool = {"type": "function", **TOOL["function"]}
    called = client.responses.create(
        model="chat",
        input="Weather in Oslo?",
        tools=[tool],
        tool_choice={"type": "function", "name": "get_weather"},
        max_output_tokens=120,
    )
    [call] = called.output
    assert call.type == "function_call"
    after = client.responses.create(
        model="chat",
        input=[
            {"role": "user", "content": "Weather in Oslo?"},
            {
                "type": "function_call",
                "call_id": call.call_id,
                "name": call.name,
                "arguments": call.arguments,
            },
            {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"},
        ],
        max_output_tokens=10,
    )
    assert after.output_text


def others():
    names = [model.id for model in client.models.list()]
    assert {"chat", "embed"} <= set(names)
    assert client.models.retrieve("chat").id == "chat"
    vectors = client.embeddings.create(model="embed", input=["one", "two"])
    assert all(math.isclose(math.fsum(x * x for x in v.embedding), 1, abs_tol=1e-4) for v in vectors.data)


def errors():
    create = client.chat.completions.create
    expect(
        openai.NotFoundError,
        lambda: create(model="nobody", messages=HI),
        code="model_not_found",
        param="model",
    )
    expect(
        openai.BadRequestError, lambda: create(model="chat", messages=HI, temperature=3), param="temperature"
    )
    expect(
        openai.BadRequestError,
        lambda: create(model="chat", messages=HI, extra_body={"colour": 1}),
        param="colour",
    )
    expect(
        openai.BadRequestError,
        lambda: create(model="chat", messages=HI, max_tokens=10**6),
        code="context_length_exceeded",
    )
    schema = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "array", "uniqueItems": True}},
    }
    expect(
        openai.BadRequestError,
        lambda: create(model="chat", messages=HI, response_format=schema),
        param="response_format.json_schema.schema#/uniqueItems",
    )
    expect(
        openai.BadRequestError,
        lambda: client.embeddings.create(model="embed", input=[[1, 2]]),
        param="input[0]",
    )
    expect(
        openai.BadRequestError,
        lambda: client.responses.create(model="chat", input="x", store=True),
        param="store",
    )
    expect(
        openai.BadRequestError, lambda: list(create(model="embed", messages=HI, stream=True)), param="model"
    )


async def at_once():
    async with openai.AsyncOpenAI(base_url=URL, api_key="none", max_retries=0) as many:

        async def ask(number):
            stream = await many.chat.completions.create(
                model="chat", messages=HI, max_tokens=8, seed=number, stream=True
            )
            return [chunk async for chunk in stream][-1].choices[0].finish_reason

        assert all(await asyncio.gather(*map(ask, range(8))))
        stream = await many.chat.completions.create(model="chat", messages=HI, max_tokens=200, stream=True)
        await anext(stream)
        await stream.close()


for part in (chats, tools, structured, completions, responses, others, errors):
    part()
asyncio.run(at_once())
print(openai.__version__, "conforms")
