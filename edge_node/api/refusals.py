"""What a well-formed request may still not ask of this node, and in which words it is refused.

The checks that types cannot say: neutral values of unsupported fields, roles, content parts, token ids,
fields that contradict each other. Each refusal names the path of the field (`messages[1].content[0].type`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgspec import Struct

    from edge_node.api.requests import (
        ChatRequest,
        CompletionRequest,
        EmbeddingsRequest,
        GenerationRequest,
        Message,
    )

STOP_LIMIT_COUNT = 4
INPUT_LIMIT_COUNT = 2048
ROLES = ("system", "developer", "user", "assistant")

Neutral = tuple[Any, ...]

# Values besides null that ask for nothing which is not done anyway.
_NEUTRAL_SHARED: Mapping[str, Neutral] = {"n": (1,)}
NEUTRAL_CHAT: Mapping[str, Neutral] = {
    **_NEUTRAL_SHARED,
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none",),
    "functions": ([],),
    "function_call": ("none",),
    "response_format": ({"type": "text"},),
    "audio": (),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
}
NEUTRAL_COMPLETION: Mapping[str, Neutral] = {
    **_NEUTRAL_SHARED,
    "logprobs": (),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}
_NEUTRAL_MESSAGE: Mapping[str, Neutral] = {
    "refusal": (),
    "audio": (),
    "function_call": (),
    "tool_calls": ([],),
    "tool_call_id": (),
}
_NEUTRAL_STREAM_OPTIONS: Mapping[str, Neutral] = {"include_obfuscation": (False,)}


def check_chat(request: ChatRequest) -> None:
    """Refuse what this node would have to ignore.

    Raises:
        RequestInvalidError: `param` is the path of the field.
    """
    _refuse_unsupported(request, NEUTRAL_CHAT)
    _check_generation(request)
    both = request.max_tokens is not None and request.max_completion_tokens is not None
    if both and request.max_tokens != request.max_completion_tokens:
        raise RequestInvalidError(
            "max_tokens and max_completion_tokens differ; send max_completion_tokens alone",
            param="max_completion_tokens",
        )
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}]")


def check_completion(request: CompletionRequest) -> None:
    """Refuse what this node would have to ignore.

    Raises:
        RequestInvalidError: `param` is the path of the field.
    """
    _refuse_unsupported(request, NEUTRAL_COMPLETION)
    _check_generation(request)
    prompt = request.prompt
    if not prompt or prompt in ([""], [[]]):
        raise RequestInvalidError("the prompt is empty", param="prompt")
    if isinstance(prompt, str) or all(isinstance(part, int) for part in prompt):
        return
    if len(prompt) > 1:
        raise RequestInvalidError(
            "this node answers one prompt a request; send the prompts one by one", param="prompt"
        )


def check_embeddings(request: EmbeddingsRequest) -> None:
    """Refuse what this node would have to ignore.

    Raises:
        RequestInvalidError: `param` is the path of the field.
    """
    inputs = [request.input] if isinstance(request.input, str) else request.input
    if not inputs:
        raise RequestInvalidError("the input is empty", param="input")
    if len(inputs) > INPUT_LIMIT_COUNT:
        raise RequestInvalidError(
            f"{len(inputs)} inputs are more than the {INPUT_LIMIT_COUNT} of one request; split them",
            param="input",
        )
    for index, text in enumerate(inputs):
        path = "input" if isinstance(request.input, str) else f"input[{index}]"
        if not isinstance(text, str):
            raise RequestInvalidError(
                "the input holds token ids, which belong to another model's vocabulary; send text "
                "(with LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
                param=path,
            )
        if not text:
            raise RequestInvalidError("the input is an empty text", param=path)


def _check_generation(request: GenerationRequest) -> None:
    if request.stream_options is not None:
        if not request.stream:
            raise RequestInvalidError(
                "stream_options goes with stream=true only; leave it out", param="stream_options"
            )
        _refuse_unsupported(request.stream_options, _NEUTRAL_STREAM_OPTIONS, "stream_options.")
    for field in ("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty"):
        value = getattr(request, field)
        if value is not None and not math.isfinite(value):  # msgpack can say NaN, and NaN passes any range
            raise RequestInvalidError(f"{field} is not a number", param=field)
    _check_stop(request.stop)
    for token, bias in (request.logit_bias or {}).items():
        if not (token.isascii() and token.isdigit() and int(token) < 2**31):
            raise RequestInvalidError(
                "logit_bias takes token ids of the model's vocabulary as keys, such as '1917'",
                param="logit_bias",
            )
        if not math.isfinite(bias):
            raise RequestInvalidError("a bias is not a number", param=f"logit_bias.{token}")


def _check_stop(stop: str | Sequence[str] | None) -> None:
    texts = [stop] if isinstance(stop, str) else stop or []
    if len(texts) > STOP_LIMIT_COUNT:
        raise RequestInvalidError(f"stop takes at most {STOP_LIMIT_COUNT} texts", param="stop")
    for index, text in enumerate(texts):
        if not text:
            raise RequestInvalidError(
                "an empty stop text would stop at once; leave it out",
                param="stop" if isinstance(stop, str) else f"stop[{index}]",
            )


def _check_message(message: Message, path: str) -> None:
    if message.role not in ROLES:
        tool = message.role in {"tool", "function"}
        why = "this node does not support tools" if tool else "there is no such role"
        raise RequestInvalidError(f"{why}; the roles are {', '.join(ROLES)}", param=f"{path}.role")
    _refuse_unsupported(message, _NEUTRAL_MESSAGE, f"{path}.")
    if message.content is None:
        raise RequestInvalidError(
            "the content is null, which only a message that calls tools may be, and this node does not "
            "support tools; send a text",
            param=f"{path}.content",
        )
    if isinstance(message.content, str):
        return
    if not message.content:
        raise RequestInvalidError("the content has no parts; send a text", param=f"{path}.content")
    for index, part in enumerate(message.content):
        if part.type != "text":
            raise RequestInvalidError(
                "this node does not support content parts other than text",
                param=f"{path}.content[{index}].type",
            )
        if part.text is None:
            raise RequestInvalidError(
                "a content part of type text needs `text`", param=f"{path}.content[{index}].text"
            )


def _refuse_unsupported(message: Struct, neutral_by_field: Mapping[str, Neutral], prefix: str = "") -> None:
    for field, neutral in neutral_by_field.items():
        value = getattr(message, field)
        # Types are compared too: True == 1 must not pass for n=1.
        if value is None or any(type(value) is type(same) and value == same for same in neutral):
            continue
        instead = f" or send {neutral[0]!r}" if neutral else ""
        raise RequestInvalidError(
            f"this node does not support this value of `{field}`; leave it out{instead}"
            if neutral
            else f"this node does not support `{field}`; leave it out",
            param=f"{prefix}{field}",
        )
