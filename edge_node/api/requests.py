"""What a client may ask: chat, completion and embedding requests as OpenAI defines them.

Every field that OpenAI's own client can send is declared here, so that an unknown one is a mistake and is
refused with its path. A field is supported (typed), ignored because it changes no answer (`Ignored`), or
refused unless null or neutral (`Unsupported`; `refusals` says which values are neutral). Nothing is dropped
silently.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Ignored = Any
Unsupported = Any

Penalty = Annotated[float, Meta(ge=-2, le=2)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
TokenCount = Annotated[int, Meta(ge=1, le=2**31 - 1)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
FunctionName = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a stream is told; `include_usage` adds a last chunk with the token counts."""

    include_usage: bool | None = None
    include_obfuscation: Unsupported = None


class ContentPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of a message's content; only text is read."""

    type: str
    text: str | None = None
    cache_control: Ignored = None
    prompt_cache_breakpoint: Ignored = None
    image_url: Unsupported = None
    input_audio: Unsupported = None
    file: Unsupported = None
    refusal: Unsupported = None


class CalledFunction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a call named, with its arguments as JSON text."""

    name: str
    arguments: str


class SentToolCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call that the assistant made, as it is sent back."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: Ignored = None


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn of a chat, as sent."""

    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    cache_control: Ignored = None
    annotations: Ignored = None
    refusal: Unsupported = None
    audio: Unsupported = None
    function_call: Unsupported = None
    tool_calls: list[SentToolCall] | None = None
    tool_call_id: str | None = None


class FunctionDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A function that may be called; `parameters` is a JSON schema of its arguments."""

    name: FunctionName
    description: str | None = None
    parameters: Any = None
    strict: bool | None = None


class ToolDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool; only functions are supported."""

    type: str
    function: FunctionDefinition | None = None
    custom: Unsupported = None
    cache_control: Ignored = None


class NamedFunction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One function, by its name."""

    name: str


class NamedToolChoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The function that has to be called."""

    type: str
    function: NamedFunction | None = None
    custom: Unsupported = None
    allowed_tools: Unsupported = None


class JsonSchemaFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schema that the answer satisfies, `strict` or not."""

    name: str
    description: str | None = None
    schema: Any = None
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Text, any JSON object, or JSON of a schema."""

    type: str
    json_schema: JsonSchemaFormat | None = None


class CutAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer that was cut off, as the marks of its chunks told it (`mark.Mark`); its rest is wanted.

    `id` and `created` are those of its chunks, and are said again.
    """

    release: Annotated[str, Meta(min_length=1, max_length=128)]
    tokens: Annotated[tuple[TokenId, ...], Meta(max_length=2**17)]
    text_chars: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    id: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,96}$")]
    created: Annotated[int, Meta(ge=0, le=2**33)]


class Extensions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What only these nodes understand: `resumable` marks a stream's chunks, `resume` goes on with one, marked too."""

    resumable: bool | None = None
    resume: CutAnswer | None = None


class GenerationRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What chat and completion requests share; None takes the default.

    Extensions: `top_k`, `min_p`, `repeat_penalty`, `deterministic`, `edgeward`.
    """

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenCount | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    deterministic: bool | None = None
    seed: Seed | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    stop: str | list[str] | None = None
    user: Ignored = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    edgeward: Extensions | None = None


class ChatRequest(GenerationRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/chat/completions`; `continue_final_message` is an extension (vLLM's)."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: TokenCount | None = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: str | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    continue_final_message: bool | None = None
    functions: Unsupported = None
    function_call: Unsupported = None
    audio: Unsupported = None
    modalities: Unsupported = None
    moderation: Unsupported = None
    prediction: Unsupported = None
    reasoning_effort: Unsupported = None
    verbosity: Unsupported = None
    web_search_options: Unsupported = None


class CompletionRequest(GenerationRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/completions`; a prompt of token ids is in the model's own vocabulary."""

    prompt: str | list[str | TokenId | list[TokenId]]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=8)] | None = None
    echo: bool | None = None
    suffix: Unsupported = None


class EmbeddingsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/embeddings`; token ids are told apart here only to be refused with advice.

    `truncate_prompt_tokens` is vLLM's extension: cut to so many tokens, or with -1 to what the model reads.
    """

    model: ModelName
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    user: Ignored = None
