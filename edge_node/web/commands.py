"""What an OpenAI request asks of an engine: the same, with every default said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from edge_node.api.refusals import prompts_of
from edge_node.constraints.calls import OPENING, Tool, grammar_of_calls
from edge_node.constraints.places import Placed
from edge_node.constraints.schema import grammar_of_json_object, grammar_of_schema
from edge_node.engines import ChatMessage, Generate, Grammar, Sampling, ToolCall
from edge_node.engines.resume import Resume
from origin.prompt_text import role_of, tool_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_node.api.requests import (
        ChatRequest,
        CompletionRequest,
        CutAnswer,
        GenerationRequest,
        Message,
        ResponseFormat,
        ToolDefinition,
    )

# What OpenAI's completions do when not told; a chat goes on until it ends or the context is full.
COMPLETION_DEFAULT_TOKENS = 16
_SCHEMA_PARAM = "response_format.json_schema.schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The commands of one request.

    Attributes:
        per_prompt_count: how many commands in a row have the same prompt.
        answers_count: how many of these are told, the best.
        resumable: the chunks of the one answer tell its tokens.
        cut: the answer that is gone on with; it keeps its name.
    """

    commands: tuple[Generate, ...]
    per_prompt_count: int = 1
    answers_count: int = 1
    resumable: bool = False
    cut: CutAnswer | None = None


def chat_work(request: ChatRequest, request_id: str) -> Work:
    """A checked chat request as commands.

    Raises:
        RequestInvalidError: what its answer must look like cannot be enforced.
    """
    count = request.n or 1
    told = tools_told(request)
    sampling = _sampling(request, request.max_completion_tokens or request.max_tokens)
    command = Generate(
        request_id=request_id,
        messages=tuple(_turn(message) for message in request.messages),
        tools=tuple(_definition(tool) for tool in told),
        continues_last=bool(request.continue_final_message),
        sampling=msgspec.structs.replace(
            sampling,
            logprobs_count=(request.top_logprobs or 0) if request.logprobs else None,
            grammar=_grammar(request),
        ),
        deterministic=request.deterministic or False,
        resume=_resume(request),
    )
    return Work(
        commands=tuple(_choices(command, count)),
        per_prompt_count=count,
        answers_count=count,
        resumable=_resumable(request),
        cut=_cut(request),
    )


def completion_work(request: CompletionRequest, request_id: str) -> Work:
    """A checked completion request as commands."""
    count = request.n or 1
    made_count = request.best_of or count
    scored = request.logprobs if request.logprobs is not None else 0 if made_count > count else None
    sampling = _sampling(request, request.max_tokens or COMPLETION_DEFAULT_TOKENS)
    sampling = msgspec.structs.replace(sampling, logprobs_count=scored)
    commands: list[Generate] = []
    for prompt in prompts_of(request):
        command = Generate(
            request_id=request_id,
            text=prompt if isinstance(prompt, str) else None,
            tokens=None if isinstance(prompt, str) else prompt,
            sampling=sampling,
            deterministic=request.deterministic or False,
            resume=_resume(request),
        )
        commands.extend(_choices(command, made_count))
    named = [
        msgspec.structs.replace(command, request_id=f"{request_id}.{index}" if index else request_id)
        for index, command in enumerate(commands)
    ]
    return Work(
        commands=tuple(named),
        per_prompt_count=made_count,
        answers_count=count,
        resumable=_resumable(request),
        cut=_cut(request),
    )


def tools_told(request: ChatRequest) -> list[ToolDefinition]:
    """The tools that the model hears of."""
    return [] if request.tool_choice == "none" else list(request.tools or ())


def _definition(tool: ToolDefinition) -> str:
    """A tool in the form that chat templates know."""
    function = tool.function
    assert function is not None, "checked"
    return tool_text(function.name, function.description, function.parameters)


def _choices(command: Generate, count: int) -> Iterable[Generate]:
    """The command again and again; a seed gives each its own chance."""
    seed = command.sampling.seed
    for index in range(count):
        own = None if seed is None else seed + index if seed < 2**63 - count else seed - index
        yield msgspec.structs.replace(
            command,
            request_id=f"{command.request_id}.{index}" if index else command.request_id,
            sampling=msgspec.structs.replace(command.sampling, seed=own),
        )


def _grammar(request: ChatRequest) -> Grammar | None:
    """What the answer must look like: a call, JSON, or either."""
    tools = tools_told(request)
    wanted = request.response_format
    if not tools:
        return _format_grammar(wanted)
    choice = request.tool_choice
    forced = choice == "required" or not (choice is None or isinstance(choice, str))
    name = (
        None if choice is None or isinstance(choice, str) or choice.function is None else choice.function.name
    )
    callable_ = [
        Tool(
            name=tool.function.name,
            parameters=tool.function.parameters,
            strict=bool(tool.function.strict),
            param=f"tools[{index}].function.parameters",
        )
        for index, tool in enumerate(tools)
        if tool.function is not None and name in {None, tool.function.name}
    ]
    parallel = request.parallel_tool_calls is not False and name is None
    otherwise = _schema(wanted)
    if forced or otherwise is not None:
        text = grammar_of_calls(
            callable_, opened=False, parallel=parallel, otherwise=None if forced else otherwise
        )
        return Grammar(text=text)
    return Grammar(text=grammar_of_calls(callable_, opened=True, parallel=parallel), triggers=(OPENING,))


def _format_grammar(wanted: ResponseFormat | None) -> Grammar | None:
    placed = _schema(wanted)
    if placed is None:
        return None
    if wanted is not None and wanted.type == "json_object":
        return Grammar(text=grammar_of_json_object(param=placed.pointer))
    return Grammar(text=grammar_of_schema(placed.schema, param=placed.pointer))


def _schema(wanted: ResponseFormat | None) -> Placed | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.json_schema is None:
        return Placed({"type": "object"}, "response_format")
    return Placed(wanted.json_schema.schema, _SCHEMA_PARAM)


def _cut(request: GenerationRequest) -> CutAnswer | None:
    return request.edgeward.resume if request.edgeward else None


def _resumable(request: GenerationRequest) -> bool:
    return _cut(request) is not None or bool(request.edgeward and request.edgeward.resumable)


def _resume(request: GenerationRequest) -> Resume | None:
    cut = _cut(request)
    if cut is None:
        return None
    return Resume(
        tokens=cut.tokens, text_chars=cut.text_chars, release=cut.release, created_unix_s=cut.created
    )


def _sampling(request: GenerationRequest, max_tokens: int | None) -> Sampling:
    stop = request.stop
    defaults = Sampling()
    return Sampling(
        max_tokens=max_tokens,
        temperature=_or(request.temperature, defaults.temperature),
        top_p=_or(request.top_p, defaults.top_p),
        top_k=request.top_k or 0,
        min_p=_or(request.min_p, defaults.min_p),
        seed=request.seed,
        frequency_penalty=_or(request.frequency_penalty, defaults.frequency_penalty),
        presence_penalty=_or(request.presence_penalty, defaults.presence_penalty),
        repeat_penalty=_or(request.repeat_penalty, defaults.repeat_penalty),
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
    )


def _turn(message: Message) -> ChatMessage:
    content = message.content or ""
    text = content if isinstance(content, str) else "".join(part.text or "" for part in content)
    return ChatMessage(
        role=role_of(message.role),
        content=text,
        name=message.name,
        tool_calls=tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id,
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
