"""What an OpenAI request asks of an engine: the same, with every default said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.engines import ChatMessage, Generate, Sampling

if TYPE_CHECKING:
    from edge_node.api.requests import ChatRequest, CompletionRequest, GenerationRequest, Message

# What OpenAI's completions do when not told; a chat goes on until it ends or the context is full.
COMPLETION_DEFAULT_TOKENS = 16


def chat_command(request: ChatRequest, request_id: str) -> Generate:
    """A checked chat request as a command."""
    max_tokens = request.max_completion_tokens or request.max_tokens
    return Generate(
        request_id=request_id,
        messages=tuple(_turn(message) for message in request.messages),
        sampling=_sampling(request, max_tokens),
        deterministic=request.deterministic or False,
    )


def completion_command(request: CompletionRequest, request_id: str) -> Generate:
    """A checked completion request as a command."""
    sampling = _sampling(request, request.max_tokens or COMPLETION_DEFAULT_TOKENS)
    prompt = request.prompt
    if not isinstance(prompt, str) and len(prompt) == 1 and not isinstance(prompt[0], int):
        only = prompt[0]
        prompt = only if isinstance(only, str) else [*only]
    exact = request.deterministic or False
    if isinstance(prompt, str):
        return Generate(request_id=request_id, text=prompt, sampling=sampling, deterministic=exact)
    tokens = tuple(token for token in prompt if isinstance(token, int))
    return Generate(request_id=request_id, tokens=tokens, sampling=sampling, deterministic=exact)


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
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
    )


def _turn(message: Message) -> ChatMessage:
    content = message.content or ""
    text = content if isinstance(content, str) else "".join(part.text or "" for part in content)
    # Chat templates of open models know OpenAI's newer name for the same role rarely.
    role = "system" if message.role == "developer" else message.role
    return ChatMessage(role=role, content=text, name=message.name)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
