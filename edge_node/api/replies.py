"""What a node answers, in the exact shapes of OpenAI: answers, chunks of a stream, embeddings, errors."""

from __future__ import annotations

import struct
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from edge_node.api.mark import Mark

FinishReason = Literal["stop", "length", "tool_calls"]


class PromptTokensDetails(Struct, frozen=True, kw_only=True):
    """`cached_tokens` of the prompt were not read again."""

    cached_tokens: int


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one generation."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


def usage(*, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> Usage:
    """The token counts of a generation, summed."""
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cached_tokens),
    )


class TokenLogprob(Struct, frozen=True, kw_only=True):
    """A token that could have been chosen; `bytes` are exact where `token` cannot be text."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class ChosenLogprob(TokenLogprob, frozen=True, kw_only=True):
    """A token that was chosen, and the most probable ones."""

    top_logprobs: tuple[TokenLogprob, ...]


class ChatLogprobs(Struct, frozen=True, kw_only=True):
    """How probable the tokens of a chat's answer were."""

    content: tuple[ChosenLogprob, ...]
    refusal: None = None


class TextLogprobs(Struct, frozen=True, kw_only=True):
    """How probable the tokens of a completion were; `text_offset` counts characters."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    top_logprobs: tuple[dict[str, float], ...] | None
    text_offset: tuple[int, ...]


class FunctionCall(Struct, frozen=True, kw_only=True):
    """What is called, with its arguments as JSON text."""

    name: str
    arguments: str


class AnsweredToolCall(Struct, frozen=True, kw_only=True):
    """A call that the assistant makes."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class AssistantMessage(Struct, frozen=True, kw_only=True):
    """The answer of a chat; without text it calls tools."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: tuple[AnsweredToolCall, ...] | UnsetType = UNSET


class ChatChoice(Struct, frozen=True, kw_only=True):
    """One choice of a chat's answer."""

    index: int = 0
    message: AssistantMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """A chat's whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: Usage
    system_fingerprint: str


class FunctionCallDelta(Struct, frozen=True, kw_only=True):
    """What a chunk adds to a call."""

    name: str | UnsetType = UNSET
    arguments: str


class ToolCallDelta(Struct, frozen=True, kw_only=True):
    """What a chunk adds to one of the calls; the first of a call has its id and name."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionCallDelta


class ChatDelta(Struct, frozen=True, kw_only=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: tuple[ToolCallDelta, ...] | UnsetType = UNSET


class ChatChunkChoice(Struct, frozen=True, kw_only=True):
    """The one choice that a chunk is about."""

    index: int = 0
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Struct, frozen=True, kw_only=True):
    """A piece of a chat's stream; the last one, with the usage, has no choices."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChatChunkChoice, ...]
    usage: Usage | UnsetType | None = UNSET
    system_fingerprint: str
    edgeward: Mark | UnsetType = UNSET


class TextChoice(Struct, frozen=True, kw_only=True):
    """One choice of a completion, whole or in a chunk."""

    index: int = 0
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None


class TextCompletion(Struct, frozen=True, kw_only=True):
    """A completion, whole or a piece of its stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: tuple[TextChoice, ...]
    usage: Usage | UnsetType | None = UNSET
    system_fingerprint: str
    edgeward: Mark | UnsetType = UNSET


Chunk = ChatChunk | TextCompletion


class Embedding(Struct, frozen=True, kw_only=True):
    """One vector: numbers, or little-endian float32 bytes (base64 in JSON, bytes in msgpack)."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: bytes | tuple[float, ...]


class EmbeddingUsage(Struct, frozen=True, kw_only=True):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, frozen=True, kw_only=True):
    """The answer of `/v1/embeddings`, in the order of the inputs.

    Attributes:
        space_id: an extension: vectors may be compared with those of the same space alone; left out where nobody said.
    """

    object: Literal["list"] = "list"
    data: tuple[Embedding, ...]
    model: str
    usage: EmbeddingUsage
    space_id: str | UnsetType = UNSET


def embedding_list(
    vectors: bytes, *, dims: int, model: str, prompt_tokens: int, packed: bool, space_id: str = ""
) -> EmbeddingList:
    """Vectors as an answer.

    `vectors` are little-endian float32 of shape [inputs, dims]; `packed` keeps them as bytes
    (`encoding_format: base64`).
    """
    step_bytes = 4 * dims
    rows = [vectors[at : at + step_bytes] for at in range(0, len(vectors), step_bytes)]
    form = struct.Struct(f"<{dims}f")
    return EmbeddingList(
        data=tuple(
            Embedding(index=index, embedding=row if packed else form.unpack(row))
            for index, row in enumerate(rows)
        ),
        model=model,
        usage=EmbeddingUsage(prompt_tokens=prompt_tokens, total_tokens=prompt_tokens),
        space_id=space_id or UNSET,
    )


class ModelCard(Struct, frozen=True, kw_only=True):
    """A model in `/v1/models`; what follows `owned_by` are extensions.

    A model that is `asleep` is loaded for whoever asks; until it was loaded once, what it can do is not known.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "edgeward"
    version: str
    abilities: tuple[str, ...]
    context_tokens: int
    asleep: bool = False


class ModelList(Struct, frozen=True, kw_only=True):
    """The answer of `/v1/models`."""

    object: Literal["list"] = "list"
    data: tuple[ModelCard, ...]


class ErrorDetail(Struct, frozen=True, kw_only=True):
    """What went wrong: `type` is the broad kind, `code` the exact one, `param` the path of the field."""

    message: str
    type: str
    param: str | None
    code: str


class Loading(Struct, frozen=True, kw_only=True):
    """How far a model is that cannot answer yet; `eta_s` is a guess by the pace so far."""

    state: str
    eta_s: float | None = None
    done_bytes: int
    total_bytes: int


class ErrorBody(Struct, frozen=True, kw_only=True):
    """The body of every error, and the event of a stream that fails."""

    error: ErrorDetail
    loading: Loading | UnsetType = UNSET


_KINDS = {404: "not_found", 408: "timeout", 429: "overloaded", 503: "unavailable"}


def error_body(
    message: str,
    *,
    code: str,
    http_status: int,
    param: str | None = None,
    loading: Loading | UnsetType = UNSET,
) -> ErrorBody:
    """An error in OpenAI's words."""
    broad = "server_error" if http_status >= 500 else "invalid_request_error"
    kind = _KINDS.get(http_status, broad)
    return ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code), loading=loading)
