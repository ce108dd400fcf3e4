"""The engine protocol: what a node's front says to an engine's process, and what it hears back.

An engine runs in a child process of its own (`worker`), one for each resident release, because a runtime may abort
the whole process on bad input and that must never take the node down. Front and child speak msgpack messages,
each a tagged map, over a socket pair (`channel`). `process` is the front's side; `llama` and `onnx` are the
two runtimes.

A generation: `Generate` → `Started` → `Delta`* → `Finished`. An embedding: `Embed` → `Embedded`.
Either may end in `Refused` (this request is at fault) instead. The death of the child ends all of its requests
with `EngineFailedError`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

EngineKind = Literal["llama", "onnx"]
FinishReason = Literal["stop", "length", "cancelled"]


class EngineSpec(Struct, frozen=True, kw_only=True):
    """How to run one release.

    Attributes:
        model_dir: the directory with the release's files.
        files: their paths below `model_dir`.
        threads_count: compute threads; two engines on two cores must have one each.
        context_tokens: prompt plus answer; 0 takes the model's own limit, capped at 4096.
    """

    kind: EngineKind
    name: str
    version: str
    model_dir: str
    files: tuple[str, ...]
    threads_count: int = 1
    context_tokens: int = 0


class ChatMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn, its content flattened to text."""

    role: str
    content: str
    name: str | None = None


class Sampling(Struct, frozen=True, kw_only=True):
    """How tokens are chosen. Temperature 0 is greedy. `seed` None draws one from the system."""

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    stop: tuple[str, ...] = ()


class Generate(Struct, frozen=True, kw_only=True, tag="generate"):
    """Continue a chat (`messages`) or a text (`text`, or token ids); exactly one of the three is set."""

    request_id: str
    messages: tuple[ChatMessage, ...] | None = None
    text: str | None = None
    tokens: tuple[int, ...] | None = None
    sampling: Sampling = Sampling()


class Embed(Struct, frozen=True, kw_only=True, tag="embed"):
    """Embed each input text."""

    request_id: str
    inputs: tuple[str, ...]


class Load(Struct, frozen=True, tag="load"):
    """The first message to a new child: what it is to run."""

    spec: EngineSpec


class Cancel(Struct, frozen=True, tag="cancel"):
    """Stop working on a request; it ends with `Finished(reason="cancelled")`."""

    request_id: str


Request = Generate | Embed
Command = Load | Request | Cancel


class Ready(Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded.

    Attributes:
        abilities: of `chat`, `completion`, `embedding`.
        slots: requests worked on at once; further ones wait in the child's queue.
        load_s: how long loading took.
        fingerprint: engine build and settings, for `system_fingerprint`.
    """

    abilities: tuple[str, ...]
    slots: int
    context_tokens: int
    load_s: float
    fingerprint: str
    embedding_dims: int = 0


class Started(Struct, frozen=True, kw_only=True, tag="started"):
    """The prompt has been read; tokens follow. `cached_tokens` of the prompt were still in the KV cache."""

    request_id: str
    prompt_tokens: int
    cached_tokens: int
    queue_s: float
    prefill_s: float


class Delta(Struct, frozen=True, tag="delta"):
    """More text, always whole characters; `tokens_count` tokens made it."""

    request_id: str
    text: str
    tokens_count: int


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """The end of a generation."""

    request_id: str
    reason: FinishReason
    completion_tokens: int
    decode_s: float


class Embedded(Struct, frozen=True, kw_only=True, tag="embedded"):
    """Vectors as little-endian float32, shape [inputs, dims], each of length 1 in the Euclidean norm."""

    request_id: str
    vectors: bytes
    dims: int
    prompt_tokens: int
    service_s: float


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """This request cannot be done; `code` is one of `context_length_exceeded`, `request.invalid`, `engine.failed`."""

    request_id: str
    code: str
    message: str
    param: str | None = None


class LoadFailed(Struct, frozen=True, tag="load_failed"):
    """The model cannot be loaded; the child ends after this."""

    message: str


Event = Ready | Started | Delta | Finished | Embedded | Refused | LoadFailed
