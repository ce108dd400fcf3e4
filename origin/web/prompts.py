"""A glance at the prompt of an OpenAI request: as much of its text as marks are made of, and no judgement of it.

The request is for a node, which checks it. So nothing here refuses anything: reading ends at the first thing that is
not understood, and what was read until there is a beginning of the prompt all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from origin.prefixes import MARKED_LIMIT_BYTES
from origin.prompt_text import message_turns, tool_text, tools_turn, turns_text
from registry.bodies import MSGPACK_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from registry.bodies import Form

_GLANCED_LIMIT_BYTES = 512 * 1024
"""A longer list is not looked into: cutting it up took longer than the decision."""
_NONE = (b'"none"', b"\xa4none")


class OpenAIRequest(Struct):
    """All that routing looks at in an OpenAI request; the node that answers checks the rest.

    What the prompt is made of is left as it came, and read only as far as marks reach.
    """

    model: str
    messages: Raw = Raw()
    prompt: Raw = Raw()
    input: Raw = Raw()
    instructions: Raw = Raw()
    tools: Raw = Raw()
    tool_choice: Raw = Raw()


class _Part(Struct):
    text: str


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Any = None
    arguments: str = ""


class _Call(Struct):
    function: _Function


class _Tool(Struct):
    name: str = ""
    description: str | None = None
    parameters: Any = None
    function: _Function | None = None


class _Item(Struct):
    """A message of a chat, or an item of the dialect of responses."""

    type: str = "message"
    role: str = ""
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    name: str = ""
    arguments: str = ""
    output: str | list[_Part] | None = None


def prompt_beginning(asked: OpenAIRequest, path: str, form: Form) -> tuple[bytes, bool]:
    """The beginning of a request's prompt as text, and whether that is all of it.

    Args:
        asked: the request.
        path: the URL that it was sent to, which says what its fields mean.
        form: what its parts are written in.
    """
    if path == "/v1/completions":
        return _completion(asked, form)
    if path == "/v1/chat/completions":
        turns, whole = chat_turns(asked, form)
    elif path == "/v1/responses":
        turns, whole = _gathered(_turns(asked, asked.input, asked.instructions, form))
    else:  # what the others read is not kept
        return b"", True
    return turns_text(turns)[:MARKED_LIMIT_BYTES], whole


def chat_turns(asked: OpenAIRequest, form: Form) -> tuple[list[tuple[str, str]], bool]:
    """The first turns of a chat, and whether these are all."""
    return _gathered(_turns(asked, asked.messages, Raw(), form))


def _completion(asked: OpenAIRequest, form: Form) -> tuple[bytes, bool]:
    prompt = _read(asked.prompt, str | list[str], form)
    if isinstance(prompt, list):
        prompt = prompt[0] if len(prompt) == 1 else None
    if prompt is None:
        return b"", True
    text = prompt.encode(errors="surrogatepass")
    return text[:MARKED_LIMIT_BYTES], len(text) <= MARKED_LIMIT_BYTES


def _gathered(found: Iterator[tuple[str, str] | None]) -> tuple[list[tuple[str, str]], bool]:
    """Turns until there are enough, or one that is None, and whether these are all."""
    turns: list[tuple[str, str]] = []
    size = 0
    for turn in found:
        if turn is None or size > MARKED_LIMIT_BYTES:
            return turns, False
        turns.append(turn)
        size += len(turn[1])
    return turns, size <= MARKED_LIMIT_BYTES


def _turns(
    asked: OpenAIRequest, items: Raw, instructions: Raw, form: Form
) -> Iterator[tuple[str, str] | None]:
    """The turns in order; None where something is not understood."""
    if _there(asked.tools, form) and bytes(memoryview(asked.tool_choice)[:7]) not in _NONE:
        tools = _read(asked.tools, list[_Tool], form)
        if tools is None:
            yield None
            return
        if tools:
            told = [tool.function or tool for tool in tools]
            yield tools_turn(tool_text(tool.name, tool.description, tool.parameters) for tool in told)
    if _there(instructions, form):
        said = _read(instructions, str, form)
        yield None if said is None else ("system", said)
    alone = _read(items, str, form)
    if alone is not None:
        yield "user", alone
        return
    listed = _read(items, list[Raw], form)
    if listed is None:
        yield None
        return
    for item in listed:
        read = _read(item, _Item, form)
        yield from (None,) if read is None else _item_turns(read)


def _item_turns(item: _Item) -> Iterable[tuple[str, str]]:
    if item.type == "function_call":
        return message_turns("assistant", "", [(item.name, item.arguments)])
    if item.type == "function_call_output":
        return message_turns("tool", _text(item.output), ())
    calls = [(call.function.name, call.function.arguments) for call in item.tool_calls or ()]
    return message_turns(item.role, _text(item.content), calls)


def _text(content: str | list[_Part] | None) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content or ())


def _there(raw: Raw, form: Form) -> bool:
    first = bytes(memoryview(raw)[:1])
    return first not in ((b"", b"\xc0") if form == MSGPACK_TYPE else (b"", b"n"))


def _read(raw: Raw, kind: Any, form: Form) -> Any:
    """A part of the request; None where it is not there, too long, or something else."""
    if not 0 < memoryview(raw).nbytes <= _GLANCED_LIMIT_BYTES:
        return None
    decode: Callable[..., Any] = msgspec.msgpack.decode if form == MSGPACK_TYPE else msgspec.json.decode
    try:
        return decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
