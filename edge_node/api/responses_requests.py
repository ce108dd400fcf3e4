"""`POST /v1/responses`: what a client may ask in OpenAI's newer dialect, told as a chat.

The node keeps no conversations: `store`, `previous_response_id` and `conversation` are refused; send the whole input.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edge_node.api.refusals import check_chat, refuse_unsupported
from edge_node.api.requests import (
    CalledFunction,
    ChatRequest,
    ContentPart,
    FunctionDefinition,
    FunctionName,
    Ignored,
    JsonSchemaFormat,
    Message,
    ModelName,
    NamedFunction,
    NamedToolChoice,
    ResponseFormat,
    SentToolCall,
    StreamOptions,
    TokenCount,
    ToolDefinition,
    Unsupported,
)
from edge_node.errors import RequestInvalidError

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "background_options": (),
    "context_management": (),
    "max_tool_calls": (),
    "moderation": (),
    "prompt": (),
    "image": (),
    "access_programs": (),
    "reasoning": ({}, {"effort": "none"}),
    "truncation": ("disabled",),
}
_INCLUDED = ("message.output_text.logprobs", "reasoning.encrypted_content")


class InputPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of an item's content; only text is read."""

    type: str
    text: str | None = None
    annotations: Ignored = None
    logprobs: Ignored = None
    cache_control: Ignored = None
    prompt_cache_breakpoint: Ignored = None


class InputItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message, a call that the assistant made, or what came of a call."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: str | None = None
    content: str | list[InputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[InputPart] | None = None
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None


class ResponsesTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool; only functions are supported."""

    type: str
    name: FunctionName | None = None
    description: str | None = None
    parameters: Any = None
    strict: bool | None = None


class ResponsesToolChoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The function that has to be called."""

    type: str
    name: str | None = None


class TextFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Text, any JSON object, or JSON of a schema."""

    type: str
    name: str | None = None
    description: str | None = None
    schema: Any = None
    strict: bool | None = None


class TextOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the text must look like."""

    format: TextFormat | None = None
    verbosity: Unsupported = None


class ResponsesRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/responses`."""

    model: ModelName
    input: str | Annotated[list[InputItem], Meta(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: TokenCount | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    text: TextOptions | None = None
    tools: list[ResponsesTool] | None = None
    tool_choice: str | ResponsesToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    user: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    store: Unsupported = None
    previous_response_id: Unsupported = None
    conversation: Unsupported = None
    background: Unsupported = None
    background_options: Unsupported = None
    context_management: Unsupported = None
    max_tool_calls: Unsupported = None
    moderation: Unsupported = None
    prompt: Unsupported = None
    image: Unsupported = None
    access_programs: Unsupported = None
    reasoning: Unsupported = None
    truncation: Unsupported = None


def as_chat(request: ResponsesRequest) -> ChatRequest:
    """The chat that asks for the same, checked.

    Raises:
        RequestInvalidError: `param` is the path of the field, in this dialect.
    """
    refuse_unsupported(request, _NEUTRAL)
    if request.text is not None:
        refuse_unsupported(request.text, {"verbosity": ("medium",)}, "text.")
    for index, name in enumerate(request.include or ()):
        if name not in _INCLUDED:
            raise RequestInvalidError("this node has none of that to include", param=f"include[{index}]")
    try:
        chat = _chat(request)
        check_chat(chat)
    except RequestInvalidError as error:
        raise RequestInvalidError(error.message, param=own_path(error.param)) from error
    return chat


def own_path(param: str | None) -> str | None:
    """A path in a chat request as one in a request of this dialect."""
    if param is None:
        return None
    if param.startswith("messages"):
        return "input"
    return (
        param.replace("response_format.json_schema", "text.format")
        .replace("response_format", "text.format")
        .replace("].function.", "].")
        .replace("tool_choice.function.", "tool_choice.")
        .replace("max_completion_tokens", "max_output_tokens")
    )


def _chat(request: ResponsesRequest) -> ChatRequest:
    messages = [] if request.instructions is None else [Message(role="system", content=request.instructions)]
    if isinstance(request.input, str):
        messages.append(Message(role="user", content=request.input))
    else:
        for index, item in enumerate(request.input):
            _add(messages, item, f"input[{index}]")
    choice = request.tool_choice
    wants_logprobs = bool(request.top_logprobs) or _INCLUDED[0] in (request.include or ())
    return ChatRequest(
        model=request.model,
        messages=messages,
        stream=request.stream,
        stream_options=request.stream_options,
        max_completion_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        logprobs=wants_logprobs,
        top_logprobs=request.top_logprobs if wants_logprobs else None,
        tools=[_tool(tool, index) for index, tool in enumerate(request.tools or ())],
        tool_choice=choice
        if choice is None or isinstance(choice, str)
        else NamedToolChoice(type=choice.type, function=NamedFunction(name=choice.name or "")),
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=_format(request.text.format) if request.text and request.text.format else None,
    )


def _add(messages: list[Message], item: InputItem, path: str) -> None:
    if item.type == "message":
        if item.role is None or item.role == "tool" or item.content is None:
            raise RequestInvalidError("a message has a role and a content", param=path)
        messages.append(Message(role=item.role, content=_content(item.content, path)))
        return
    if item.call_id is None:
        raise RequestInvalidError("the item needs the id of its call", param=f"{path}.call_id")
    if item.type == "function_call_output":
        if item.output is None:
            raise RequestInvalidError("the output is missing", param=f"{path}.output")
        output = _content(item.output, path)
        messages.append(Message(role="tool", content=output, tool_call_id=item.call_id))
        return
    if item.name is None or item.arguments is None:
        raise RequestInvalidError("a call has a name and arguments", param=path)
    call = SentToolCall(id=item.call_id, function=CalledFunction(name=item.name, arguments=item.arguments))
    # Calls of one turn, and the words before them, are items of their own here and one message in a chat.
    before = messages[-1] if messages and messages[-1].role == "assistant" else None
    if before is not None:
        messages.pop()
    messages.append(
        Message(
            role="assistant",
            content=before.content if before else None,
            tool_calls=[*((before.tool_calls if before else None) or ()), call],
        )
    )


def _content(content: str | list[InputPart], path: str) -> str | list[ContentPart]:
    if isinstance(content, str):
        return content
    for index, part in enumerate(content):
        if part.type not in {"input_text", "output_text", "text"} or part.text is None:
            raise RequestInvalidError(
                "this node reads content parts of type input_text and output_text, with `text`",
                param=f"{path}.content[{index}].type",
            )
    return [ContentPart(type="text", text=part.text) for part in content]


def _tool(tool: ResponsesTool, index: int) -> ToolDefinition:
    if tool.type != "function" or tool.name is None:
        raise RequestInvalidError(
            "this node supports tools of type function, with a name", param=f"tools[{index}].type"
        )
    return ToolDefinition(
        type="function",
        function=FunctionDefinition(
            name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict
        ),
    )


def _format(wanted: TextFormat) -> ResponseFormat:
    if wanted.type != "json_schema":
        return ResponseFormat(type=wanted.type)
    schema = JsonSchemaFormat(name=wanted.name or "answer", schema=wanted.schema, strict=wanted.strict)
    return ResponseFormat(type="json_schema", json_schema=schema)
