"""Calls of tools in an answer: the form in which models are told to write them, as a grammar.

The form is that of Hermes and Qwen, https://huggingface.co/NousResearch/Hermes-2-Pro-Llama-3-8B:

    <tool_call>
    {"name": "weather", "arguments": {"city": "Oslo"}}
    </tool_call>
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edge_node.constraints.expressions import Expression, Text, choice, repeat, sequence
from edge_node.constraints.gbnf import GrammarTooLargeError, Rules
from edge_node.constraints.layout import SPACE
from edge_node.constraints.places import Placed, SchemaRefusedError
from edge_node.constraints.schema import grammar_of_schema, value_of_schema
from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

OPENING = "<tool_call>"
CLOSING = "</tool_call>"
BEFORE_NAME = '\n{"name": '
BEFORE_ARGUMENTS = ', "arguments": '
LIMIT_CALLS_COUNT = 16
_SAYS_SOMETHING = frozenset(
    {
        "properties",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "additionalProperties",
        "required",
        "propertyNames",
        "const",
        "enum",
    }
)


class Tool(Struct, frozen=True, kw_only=True):
    """A function that the model may call.

    Attributes:
        strict: `parameters` are enforced or refused; else they are enforced where that is possible.
        param: where the request has the parameters.
    """

    name: str
    parameters: Any
    strict: bool
    param: str


def grammar_of_calls(
    tools: Sequence[Tool], *, opened: bool, parallel: bool, otherwise: Placed | None = None
) -> str:
    """The grammar of one call or, if `parallel`, several; `opened` leaves the first `OPENING` out.

    `otherwise` is a schema that the answer may satisfy instead of calling; its pointer says where the request has it.

    Raises:
        RequestInvalidError: the parameters of a strict tool cannot be enforced, or the tools are too many.
    """
    rules = Rules()
    try:
        root = rules.reserve("root")
        call = rules.named("call", _some([_call(tool, rules) for tool in tools]))
        more = sequence(rules.named("space", SPACE), Text(OPENING), call)
        first = call if opened else sequence(Text(OPENING), call)
        calls = sequence(first, repeat(more, 0, LIMIT_CALLS_COUNT - 1 if parallel else 0))
        rules.define(root, calls if otherwise is None else _some([calls, _value(otherwise, rules)]))
    except (GrammarTooLargeError, RecursionError) as error:
        raise RequestInvalidError(f"the tools are too large to enforce: {error}", param="tools") from error
    if root.name in rules.unending():
        raise RequestInvalidError("a tool demands arguments that never end", param="tools")
    return rules.printed()


def _value(placed: Placed, rules: Rules) -> Expression:
    try:
        return value_of_schema(placed.schema, rules)
    except SchemaRefusedError as error:
        raise RequestInvalidError(str(error), param=f"{placed.pointer}#{error.pointer}") from error


def _call(tool: Tool, rules: Rules) -> Expression:
    return sequence(
        Text(f"{BEFORE_NAME}{json.dumps(tool.name)}{BEFORE_ARGUMENTS}"),
        rules.named("arguments", _arguments(tool, rules)),
        Text("}\n" + CLOSING),
    )


def _arguments(tool: Tool, rules: Rules) -> Expression:
    schema = tool.parameters
    if schema is None or (isinstance(schema, dict) and not _says_something(schema)):
        return Text("{}")
    if not isinstance(schema, dict):
        raise RequestInvalidError("the parameters are a JSON schema of an object", param=tool.param)
    schema = {"type": "object", **schema}
    if tool.strict:
        return _enforced(schema, tool, rules)
    try:
        # Tried apart, so that a schema that fails half way leaves no rules behind.
        grammar_of_schema(schema, param=tool.param)
    except RequestInvalidError:
        return value_of_schema({"type": "object"}, rules)
    return _enforced(schema, tool, rules)


def _enforced(schema: Any, tool: Tool, rules: Rules) -> Expression:
    return _value(Placed(schema, tool.param), rules)


def _says_something(schema: dict[str, Any]) -> bool:
    return any(schema.get(word) not in (None, {}, [], False) for word in _SAYS_SOMETHING)


def _some(options: list[Expression]) -> Expression:
    found = choice(options)
    assert found is not None, "there is a tool"
    return found
