"""What a well-formed request may still not ask of this node, and in which words it is refused.

The checks that types cannot say: neutral values of unsupported fields, roles, content parts, token ids,
fields that contradict each other. Each refusal names the path of the field (`messages[1].content[0].type`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edge_node.api.tool_refusals import check_format, check_tools
from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msgspec import Struct

    from edge_node.api.requests import (
        ChatRequest,
        CompletionRequest,
        ContentPart,
        EmbeddingsRequest,
        GenerationRequest,
        Message,
    )

STOP_LIMIT_COUNT = 4
INPUT_LIMIT_COUNT = 2048
PROMPT_LIMIT_COUNT = 16
CHOICES_LIMIT_COUNT = 32
ROLES = ("system", "developer", "user", "assistant", "tool")

Neutral = tuple[Any, ...]

# Values besides null that ask for nothing which is not done anyway.
NEUTRAL_CHAT: Mapping[str, Neutral] = {
    "functions": ([],),
    "function_call": ("none",),
    "audio": (),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
}
NEUTRAL_COMPLETION: Mapping[str, Neutral] = {"suffix": ("",)}
_NEUTRAL_MESSAGE: Mapping[str, Neutral] = {"refusal": (), "audio": (), "function_call": ()}
_NEUTRAL_STREAM_OPTIONS: Mapping[str, Neutral] = {"include_obfuscation": (False,)}


def check_chat(request: ChatRequest) -> None:
    """Refuse what this node would have to ignore.

    Raises:
        RequestInvalidError: `param` is the path of the field.
    """
    refuse_unsupported(request, NEUTRAL_CHAT)
    _check_generation(request)
    _check_edgeward(request, answers_count=request.n or 1)
    both = request.max_tokens is not None and request.max_completion_tokens is not None
    if both and request.max_tokens != request.max_completion_tokens:
        raise RequestInvalidError(
            "max_tokens and max_completion_tokens differ; send max_completion_tokens alone",
            param="max_completion_tokens",
        )
    if request.top_logprobs and not request.logprobs:
        raise RequestInvalidError("top_logprobs goes with logprobs=true only", param="top_logprobs")
    check_tools(request)
    check_format(request)
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}]")
    if request.continue_final_message and request.messages[-1].role != "assistant":
        raise RequestInvalidError(
            "only an assistant's message can be continued", param="continue_final_message"
        )


def check_completion(request: CompletionRequest) -> None:
    """Refuse what this node would have to ignore.

    Raises:
        RequestInvalidError: `param` is the path of the field.
    """
    refuse_unsupported(request, NEUTRAL_COMPLETION)
    _check_generation(request)
    prompts = prompts_of(request)
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise RequestInvalidError(
                "the prompt is empty", param="prompt" if len(prompts) == 1 else f"prompt[{index}]"
            )
    if not prompts or len(prompts) > PROMPT_LIMIT_COUNT:
        raise RequestInvalidError(f"1 to {PROMPT_LIMIT_COUNT} prompts go in a request", param="prompt")
    _check_counts(request, prompts)
    _check_edgeward(request, answers_count=len(prompts) * (request.best_of or request.n or 1))


def _check_counts(request: CompletionRequest, prompts: Sequence[str | tuple[int, ...]]) -> None:
    count, best_of = request.n or 1, request.best_of
    if best_of is not None:
        if best_of < count:
            raise RequestInvalidError("best_of is at least n", param="best_of")
        if request.stream and best_of > count:
            raise RequestInvalidError("which answer is best is known at the end: no stream", param="best_of")
    if len(prompts) * (best_of or count) > CHOICES_LIMIT_COUNT:
        raise RequestInvalidError(f"at most {CHOICES_LIMIT_COUNT} answers are made for a request", param="n")
    if request.echo:
        if request.logprobs is not None:
            raise RequestInvalidError("this node has no logprobs of the prompt", param="echo")
        if not all(isinstance(prompt, str) for prompt in prompts):
            raise RequestInvalidError("only a prompt of text can be echoed", param="echo")


def _check_edgeward(request: GenerationRequest, *, answers_count: int) -> None:
    asked = request.edgeward
    if asked is None or not (asked.resumable or asked.resume):
        return
    field = "edgeward.resume" if asked.resume else "edgeward.resumable"
    if not request.stream:
        raise RequestInvalidError(f"{field} goes with stream=true only", param=field)
    if answers_count > 1:
        raise RequestInvalidError(f"{field} goes with a single answer only", param=field)


def prompts_of(request: CompletionRequest) -> list[str | tuple[int, ...]]:
    """The prompts, each a text or token ids."""
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    ids = tuple(part for part in prompt if isinstance(part, int))
    if ids:
        if len(ids) < len(prompt):
            raise RequestInvalidError("token ids and texts are mixed", param="prompt")
        return [ids]
    return [part if isinstance(part, str) else tuple(part) for part in prompt if not isinstance(part, int)]


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
        refuse_unsupported(request.stream_options, _NEUTRAL_STREAM_OPTIONS, "stream_options.")
    for field in (
        "temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repeat_penalty"
    ):  # fmt: skip
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
        raise RequestInvalidError(
            f"there is no such role here; the roles are {', '.join(ROLES)}", param=f"{path}.role"
        )
    refuse_unsupported(message, _NEUTRAL_MESSAGE, f"{path}.")
    _check_calls(message, path)
    if message.content is not None:
        _check_content(message.content, f"{path}.content")


def _check_calls(message: Message, path: str) -> None:
    if message.tool_calls and message.role != "assistant":
        raise RequestInvalidError("only the assistant calls tools", param=f"{path}.tool_calls")
    if (message.tool_call_id is not None) != (message.role == "tool"):
        raise RequestInvalidError(
            "a message of role tool says which call it answers, and no other does",
            param=f"{path}.tool_call_id",
        )
    if message.content is None and not message.tool_calls:
        raise RequestInvalidError(
            "the content is null, which only a message that calls tools may be; send a text",
            param=f"{path}.content",
        )


def _check_content(content: str | Sequence[ContentPart], path: str) -> None:
    if isinstance(content, str):
        return
    if not content:
        raise RequestInvalidError("the content has no parts; send a text", param=path)
    for index, part in enumerate(content):
        if part.type != "text":
            raise RequestInvalidError(
                "this node does not support content parts other than text",
                param=f"{path}[{index}].type",
            )
        if part.text is None:
            raise RequestInvalidError(
                "a content part of type text needs `text`", param=f"{path}[{index}].text"
            )


def refuse_unsupported(message: Struct, neutral_by_field: Mapping[str, Neutral], prefix: str = "") -> None:
    """Refuse a field that is neither null nor neutral.

    Raises:
        RequestInvalidError: `param` is its path.
    """
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
