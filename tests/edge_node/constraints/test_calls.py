"""The grammar of tool calls, and reading them back from text cut anywhere."""

import itertools
import json
import random

import pytest

from edge_node.constraints.call_reader import Arguments, CallBegun, CallReader, Words
from edge_node.constraints.calls import Tool, grammar_of_calls
from edge_node.errors import RequestInvalidError

WEATHER = Tool(
    name="weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 9},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
        },
        "required": ["city"],
    },
    strict=False,
    param="tools[0].function.parameters",
)
CLOCK = Tool(name="clock", parameters=None, strict=False, param="tools[1].function.parameters")
ONE = '<tool_call>\n{"name": "weather", "arguments": {"city": "O}\\"s", "days": 3}}\n</tool_call>'
TWO = ONE + '\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'


def read(text, cuts=()):
    reader = CallReader()
    found = []
    bounds = [0, *sorted(cuts), len(text)]
    for start, end in itertools.pairwise(bounds):
        found += reader.push(text[start:end])
    return found + reader.finish()


def told(found):
    """Words and calls, put together."""
    words, calls = "", []
    for each in found:
        if isinstance(each, Words):
            words += each.text
        elif isinstance(each, CallBegun):
            assert each.index == len(calls)
            calls.append([each.name, ""])
        else:
            assert isinstance(each, Arguments)
            assert each.index == len(calls) - 1
            calls[-1][1] += each.text
    return words, calls


def test_calls_are_what_the_grammar_lets_through(gbnf):
    several = gbnf(grammar_of_calls([WEATHER, CLOCK], opened=False, parallel=True))
    single = gbnf(grammar_of_calls([WEATHER, CLOCK], opened=False, parallel=False))
    opened = gbnf(grammar_of_calls([WEATHER, CLOCK], opened=True, parallel=True))
    assert several.matches(ONE)
    assert several.matches(TWO)
    assert single.matches(ONE)
    assert not single.matches(TWO)
    assert opened.matches(TWO.removeprefix("<tool_call>"))
    assert not several.matches(ONE.replace("3", "8"))
    assert not several.matches(ONE.replace("weather", "climate"))
    assert not several.matches("")


def test_what_the_grammar_lets_through_is_read(gbnf):
    reader = gbnf(grammar_of_calls([WEATHER, CLOCK], opened=False, parallel=True))
    for seed in range(80):
        random_ = random.Random(seed)
        text = reader.random_text(random_)
        words, calls = told(read(text, [random_.randint(0, len(text)) for _ in range(5)]))
        assert not words
        assert 1 <= len(calls) <= 16
        for name, arguments in calls:
            assert name in {"weather", "clock"}
            assert isinstance(json.loads(arguments), dict)


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_words_before_calls_are_kept_apart(step):
    text = "Let me see < ok.\n\n" + TWO
    words, calls = told(read(text, range(step, len(text), step)))
    assert words == "Let me see < ok."
    assert calls == [["weather", '{"city": "O}\\"s", "days": 3}'], ["clock", "{}"]]


@pytest.mark.parametrize("text", ["", "  spaces ", "a <tool_cal", "<tool_\n", "no call\n"])
def test_text_without_calls_stays_as_it_is(text):
    assert told(read(text, range(len(text)))) == (text, [])


def test_an_answer_cut_short_leaves_an_unfinished_call():
    assert told(read(ONE[: ONE.index('"s", ')])) == ("", [["weather", '{"city": "O}\\']])
    assert told(read(ONE[:20])) == ("", [])


def test_tools_that_cannot_be_enforced():
    parameters = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    loose = Tool(name="f", parameters=parameters, strict=False, param="tools[0].function.parameters")
    assert "value" in grammar_of_calls([loose], opened=False, parallel=True)
    strict = Tool(name="f", parameters=parameters, strict=True, param="tools[0].function.parameters")
    with pytest.raises(RequestInvalidError) as caught:
        grammar_of_calls([strict], opened=False, parallel=True)
    assert caught.value.param == "tools[0].function.parameters#/properties/a/uniqueItems"
