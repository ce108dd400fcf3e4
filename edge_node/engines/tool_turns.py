"""Tools in a chat: as a template that knows them wants them, and as plain text for a template that does not.

The plain form is that of Hermes: the definitions in a system message, calls within `<tool_call>` tags, results within
`<tool_response>` tags as a user's turn. https://huggingface.co/NousResearch/Hermes-2-Pro-Llama-3-8B
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import ChatMessage, ToolCall

Turn = dict[str, Any]

_INSTRUCTION = """\
You may call functions to answer the user. They are described by JSON schemas within <tools></tools>:
<tools>
{tools}
</tools>
To call a function, write its name and its arguments as JSON within <tool_call></tool_call>:
<tool_call>
{{"name": "the name of a function", "arguments": {{"the name of an argument": "its value"}}}}
</tool_call>"""


def knows_tools(source: str, variables: set[str]) -> bool:
    """Whether a template tells of tools, and has calls written in the form that this node reads."""
    return "tools" in variables and "<tool_call>" in source and "<function=" not in source


def native_turns(messages: Sequence[ChatMessage]) -> list[Turn]:
    """The messages as templates expect them, https://huggingface.co/docs/transformers/chat_extras."""
    turns: list[Turn] = []
    for message in messages:
        turn: Turn = {"role": message.role, "content": message.content}
        if message.name is not None:
            turn["name"] = message.name
        if message.tool_call_id is not None:
            turn["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            turn["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call)},
                }
                for call in message.tool_calls
            ]
        turns.append(turn)
    return turns


def plain_turns(messages: Sequence[ChatMessage]) -> list[Turn]:
    """The messages without any word of tools but in their texts; results that follow each other are one turn."""
    turns: list[Turn] = []
    after_result = False
    for message in messages:
        role, content = message.role, message.content
        if role == "tool":
            role, content = "user", f"<tool_response>\n{content}\n</tool_response>"
        calls = [
            "<tool_call>\n" + _spelled({"name": call.name, "arguments": _arguments(call)}) + "\n</tool_call>"
            for call in message.tool_calls
        ]
        content = "\n".join([content, *calls] if content or not calls else calls)
        if message.role == "tool" and after_result:
            turns[-1]["content"] += "\n" + content
        else:
            turns.append({"role": role, "content": content})
            if message.name is not None and message.role != "tool":
                turns[-1]["name"] = message.name
        after_result = message.role == "tool"
    return turns


def with_instruction(turns: Sequence[Turn], tools: Sequence[Any], *, role: str) -> list[Turn]:
    """The turns with the description of the tools, at the end of a first system message or as a turn of this role."""
    said = _INSTRUCTION.format(tools="\n".join(_spelled(tool) for tool in tools))
    first = turns[0] if turns else None
    if first is not None and first["role"] == "system":
        if role == "system":
            return [first | {"content": f"{first['content']}\n\n{said}".lstrip()}, *turns[1:]]
        said, turns = f"{first['content']}\n\n{said}".lstrip(), turns[1:]
        first = turns[0] if turns else None
    if role == "user" and first is not None and first["role"] == "user":
        return [first | {"content": f"{said}\n\n{first['content']}"}, *turns[1:]]
    return [{"role": role, "content": said}, *turns]


def _arguments(call: ToolCall) -> Any:
    try:
        return json.loads(call.arguments)
    except ValueError:
        return call.arguments  # what a model wrote and a client sends back need not be whole


def _spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
