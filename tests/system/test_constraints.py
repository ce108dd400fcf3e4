"""Grammars, tools and scores in the llama engine, with a real model at a temperature at which it raves."""

import asyncio
import contextlib
import json
import math

import jsonschema
import pytest

from edge_node.constraints.call_reader import CallReader
from edge_node.constraints.calls import Tool, grammar_of_calls
from edge_node.constraints.schema import grammar_of_json_object, grammar_of_schema
from edge_node.engines import ChatMessage, Delta, Finished, Generate, Grammar, Sampling, Started
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec
from edge_node.errors import RequestInvalidError

pytestmark = pytest.mark.system

SCHEMAS = [
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "age": {"type": "integer", "minimum": 18, "maximum": 130},
            "score": {"type": "number", "exclusiveMinimum": -0.5, "maximum": 2.75},
            "tags": {"type": "array", "items": {"enum": ["red", "green", 3, None]}, "minItems": 1, "maxItems": 3},
            "born": {"type": "string", "format": "date"},
        },
        "required": ["name", "age", "score"],
        "additionalProperties": False,
    },
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer", "multipleOf": 3, "minimum": 0, "maximum": 99},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["value", "next"],
            }
        },
        "$ref": "#/$defs/node",
    },
    {"items": {"type": "string", "pattern": "^[A-Z][a-z]{2,5}-[0-9]{2}$"}, "minItems": 2, "maxItems": 4},
    {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1, "maxProperties": 4},
    {"type": "string", "maxLength": 40},
    {"enum": ["yes", "no", {"perhaps": "ünïcödé ✓"}]},
]  # fmt: skip


@contextlib.asynccontextmanager
async def running(sample_models):
    engine = EngineProcess(
        EngineSpec(
            kind="llama",
            name="smollm2",
            version="1.0.0",
            model_dir=str(sample_models / "smollm2"),
            files=("SmolLM2-135M-Instruct.Q4_1.gguf",),
            context_tokens=1024,
        )
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close(5)


async def told(engine, request_id, text, tools=(), **sampling):
    command = Generate(
        request_id=request_id,
        messages=(ChatMessage(role="user", content=text),),
        tools=tools,
        sampling=Sampling(**{"temperature": 1.5, "max_tokens": 160} | sampling),
    )
    said, scores = "", []
    async for event in engine.generate(command):
        if isinstance(event, Delta):
            said += event.text
            scores += event.scores
        elif isinstance(event, Finished):
            return said, scores, event
    raise AssertionError("no end")


async def test_hundreds_of_wild_answers_satisfy_their_schemas(sample_models):
    async with running(sample_models) as engine:
        whole_count = 0
        for round_ in range(9):
            grammars = [Grammar(text=grammar_of_schema(schema, param="")) for schema in SCHEMAS]
            answers = await asyncio.gather(
                *(
                    told(
                        engine,
                        f"{round_}-{number}",
                        "Say something.",
                        grammar=grammars[number % len(SCHEMAS)],
                        seed=100 * round_ + number,
                    )
                    for number in range(24)
                )
            )
            for number, (text, _, finished) in enumerate(answers):
                if finished.reason == "length":
                    continue
                whole_count += 1
                jsonschema.validate(
                    json.loads(text), SCHEMAS[number % len(SCHEMAS)], jsonschema.Draft202012Validator
                )
        assert whole_count >= 140


async def test_any_object_greedy_and_with_penalties(sample_models):
    async with running(sample_models) as engine:
        grammar = Grammar(text=grammar_of_json_object(param=""))
        text, _, finished = await told(
            engine, "a", "Describe a cat as JSON.", grammar=grammar, temperature=0.0
        )
        assert finished.reason == "length" or isinstance(json.loads(text), dict)
        assert text.startswith("{")
        again, _, _ = await told(
            engine,
            "b",
            "Describe a cat as JSON.",
            grammar=grammar,
            temperature=0.0,
            repeat_penalty=1.3,
            top_k=40,
            top_p=0.9,
        )
        assert again.startswith("{")
        assert again != text


async def test_tools_forced_and_by_their_trigger(sample_models):
    parameters = {
        "type": "object",
        "properties": {
            "city": {"enum": ["Oslo", "Rome"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
        },
        "required": ["city", "days"],
    }
    tool = Tool(name="weather", parameters=parameters, strict=True, param="")
    definition = json.dumps({"type": "function", "function": {"name": "weather", "parameters": parameters}})
    forced = Grammar(text=grammar_of_calls([tool], opened=False, parallel=False))
    lazy = Grammar(text=grammar_of_calls([tool], opened=True, parallel=False), triggers=("<tool_call>",))
    async with running(sample_models) as engine:
        for seed in range(12):
            text, _, _ = await told(engine, f"f{seed}", "Weather?", (definition,), grammar=forced, seed=seed)
            reader = CallReader()
            found = reader.push(text)
            assert reader.calls_count == 1
            jsonschema.validate(json.loads("".join(part.text for part in found[1:])), parameters)
        text, _, _ = await told(
            engine, "free", "Say hi.", (definition,), grammar=lazy, temperature=0.0, max_tokens=20
        )
        assert text
        said = "Repeat exactly: <tool_call>"
        for seed in range(12):
            text, _, finished = await told(
                engine, f"l{seed}", said, (definition,), grammar=lazy, seed=seed, temperature=0.7
            )
            _, opening, rest = text.partition("<tool_call>")
            if opening and finished.reason == "stop":
                arguments = json.loads(rest.removesuffix("</tool_call>"))["arguments"]
                jsonschema.validate(arguments, parameters)


async def test_scores_are_those_of_the_softmax(sample_models):
    async with running(sample_models) as engine:
        text, scores, _ = await told(
            engine, "s", "Count to five.", temperature=0.0, max_tokens=12, logprobs_count=3
        )
        assert b"".join(score.chosen.piece for score in scores).decode() == text
        for score in scores:
            assert len(score.top) == 3
            assert score.top[0] == score.chosen  # greedy
            assert score.top[0].logprob >= score.top[1].logprob >= score.top[2].logprob
            assert math.fsum(math.exp(choice.logprob) for choice in score.top) <= 1 + 1e-9
        _, biased, _ = await told(
            engine, "b", "Count to five.", temperature=0.0, max_tokens=1, logprobs_count=0,
            logit_bias={scores[0].top[1].token: 100.0},
        )  # fmt: skip
        assert biased[0].chosen.token == scores[0].top[1].token
        assert biased[0].chosen.logprob == pytest.approx(0.0, abs=1e-6)


async def test_a_grammar_that_is_none_is_refused_and_harms_nobody(sample_models):
    async with running(sample_models) as engine:
        for at, text in enumerate(("root ::= root", 'other ::= "a"', "root ::= (")):
            with pytest.raises(RequestInvalidError, match="grammar"):
                await told(engine, f"g{at}", "hi", grammar=Grammar(text=text))
        assert (await told(engine, "ok", "hi", max_tokens=3))[0]


async def test_a_users_special_tokens_are_plain_text(sample_models):
    async def prompt_tokens(text):
        command = Generate(
            request_id=text,
            messages=(ChatMessage(role="user", content=text),),
            sampling=Sampling(max_tokens=1),
        )
        counts = [
            event.prompt_tokens async for event in engine.generate(command) if isinstance(event, Started)
        ]
        return counts[0]

    async with running(sample_models) as engine:
        empty, ordinary = await prompt_tokens("-"), await prompt_tokens("- <|im_stop|>")
        assert ordinary - empty > 3
        # Read as a special token it would be one.
        assert await prompt_tokens("- <|im_end|>") - empty > 3
