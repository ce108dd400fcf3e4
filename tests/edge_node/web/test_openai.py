"""The official OpenAI client, unchanged, against a node's front."""

from __future__ import annotations

import asyncio
import math

import openai
import pytest

from edge_node.errors import EngineFailedError, OverloadedError, PromptTooLongError

ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def api(front):
    async with openai.AsyncOpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
        yield client


async def test_a_chat(api, front):
    answer = await api.chat.completions.create(
        **ASK, temperature=0, max_completion_tokens=9, seed=4, stop=["x"]
    )
    assert answer.choices[0].message.content == "Hello ✓"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.object, answer.created, answer.model) == ("chat.completion", 1_800_000_000, "chat@1.2.0")
    assert answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint == "fp_test"
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    [command] = front.residents.chat.commands
    assert (command.sampling.temperature, command.sampling.max_tokens, command.sampling.seed) == (0, 9, 4)
    assert command.sampling.stop == ("x",)


async def test_a_streamed_chat(api):
    stream = await api.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Hello ✓"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 10
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1


async def test_without_include_usage_no_chunk_speaks_of_it(api):
    stream = await api.chat.completions.create(**ASK, stream=True)
    chunks = [chunk.model_dump(exclude_unset=True) async for chunk in stream]
    assert all("usage" not in chunk and len(chunk["choices"]) == 1 for chunk in chunks)


async def test_a_completion_whole_and_streamed(api, front):
    whole = await api.completions.create(model="chat@1.2.0", prompt="Once")
    assert (whole.choices[0].text, whole.object) == ("Hello ✓", "text_completion")
    stream = await api.completions.create(model="chat", prompt=[3, 4], max_tokens=2, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello ✓"
    assert chunks[-1].choices[0].finish_reason == "stop"
    first, second = front.residents.chat.commands
    assert (first.text, first.sampling.max_tokens) == ("Once", 16)
    assert (second.tokens, second.text, second.sampling.max_tokens) == ((3, 4), None, 2)


@pytest.mark.parametrize("form", ["float", "base64", openai.omit])  # omitted, the client asks for base64
async def test_embeddings(api, form):
    answer = await api.embeddings.create(model="team/embed", input=["ab", "abc"], encoding_format=form)
    first, second = (item.embedding for item in answer.data)
    if form == "base64":
        assert isinstance(first, str)
    else:
        assert (list(first), list(second)) == ([2.0, 0.5, -0.25], [3.0, 0.5, -0.25])
    assert [item.index for item in answer.data] == [0, 1]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (5, 5)


async def test_an_embedding_says_its_space(api, front):
    assert not hasattr(await api.embeddings.create(model="team/embed", input="ab"), "space_id")
    front.residents.embed.space_id = "0f3a"
    answer = await api.embeddings.with_raw_response.create(model="team/embed", input="abc")
    assert answer.headers["x-edgeward-space"] == "0f3a"
    assert answer.parse().space_id == "0f3a"


async def test_models(api):
    assert [model.id async for model in api.models.list()] == ["chat", "team/embed"]
    assert (await api.models.retrieve("team/embed")).id == "team/embed"
    assert (await api.models.retrieve("chat@1.2.0")).created == 1_700_000_000
    with pytest.raises(openai.NotFoundError):
        await api.models.retrieve("other")


async def test_bad_requests_name_the_field(api):
    with pytest.raises(openai.BadRequestError) as caught:
        await api.chat.completions.create(**ASK, verbosity="low")
    assert (caught.value.param, caught.value.type) == ("verbosity", "invalid_request_error")
    assert caught.value.code == "request.invalid"
    assert caught.value.request_id.startswith("req-")
    with pytest.raises(openai.BadRequestError) as caught:
        await api.chat.completions.create(**ASK, extra_body={"temprature": 1})
    assert caught.value.param == "temprature"
    assert "did you mean `temperature`?" in caught.value.message


async def test_an_unknown_model_is_not_found(api):
    for streamed in (False, True):
        with pytest.raises(openai.NotFoundError) as caught:
            await api.chat.completions.create(**{**ASK, "model": "other"}, stream=streamed)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_a_model_without_the_ability_is_refused(api):
    with pytest.raises(openai.BadRequestError) as caught:
        await api.chat.completions.create(**{**ASK, "model": "team/embed"})
    assert caught.value.param == "model"
    with pytest.raises(openai.BadRequestError):
        await api.embeddings.create(model="chat", input="x")


async def test_overload_carries_the_time_to_come_back(api, front):
    front.residents.refusal = OverloadedError("full", retry_after_s=1.25)
    with pytest.raises(openai.RateLimitError) as caught:
        await api.chat.completions.create(**ASK)
    assert caught.value.response.headers["retry-after"] == "2"
    assert caught.value.response.headers["retry-after-ms"] == "1250"
    assert "x-should-retry" not in caught.value.response.headers


async def test_the_client_retries_by_itself_after_an_overload(front, until):
    front.residents.refusal = OverloadedError("full", retry_after_s=0.001)
    async with openai.AsyncOpenAI(base_url=front.url, api_key="none", max_retries=3) as client:
        pending = asyncio.create_task(client.chat.completions.create(**ASK))
        await until(lambda: 'code="429"' in front.metrics.page().decode())
        front.residents.refusal = None
        assert (await pending).choices[0].message.content == "Hello ✓"


async def test_a_stream_refused_by_the_engine_gets_its_status(api, front):
    front.residents.chat.script = (PromptTooLongError("the prompt has 600 tokens; the model takes 512"),)
    with pytest.raises(openai.BadRequestError) as caught:
        await api.chat.completions.create(**ASK, stream=True)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_a_failure_in_the_middle_reaches_the_reader(api, front, hello):
    front.residents.chat.script = (*hello[:2], EngineFailedError("the engine died"))
    stream = await api.chat.completions.create(**ASK, stream=True)
    texts = [(await anext(stream)).choices[0].delta.content for _ in range(2)]
    assert texts == ["", "Hel"]
    with pytest.raises(openai.APIError, match="the engine died"):
        await anext(stream)


async def test_the_synchronous_client(front):
    def use():
        with openai.OpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
            whole = client.chat.completions.create(**ASK).choices[0].message.content
            stream = client.chat.completions.create(**ASK, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            vector = client.embeddings.create(model="team/embed", input="ab").data[0].embedding
            names = [model.id for model in client.models.list()]
            with pytest.raises(openai.BadRequestError):
                client.completions.create(model="chat", prompt="x", suffix="y")
            return whole, text, math.fsum(vector), names

    assert await asyncio.to_thread(use) == ("Hello ✓", "Hello ✓", 2.25, ["chat", "team/embed"])
