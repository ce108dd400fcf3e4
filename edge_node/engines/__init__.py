"""The engine protocol: what a node's front says to an engine's process, and what it hears back.

An engine runs in a child process of its own (`worker`), one for each resident release, because a runtime may abort
the whole process on bad input and that must never take the node down. Front and child speak msgpack messages,
each a tagged map, over a socket pair (`channel`). `process` is the front's side; `llama` and `onnx` are the
two runtimes.

A generation: `Generate` → `Progress`* → `Started` → `Delta`* → `Finished`. An embedding: `Embed` → `Embedded`.
Texts judged by a model's head: `Score` → `Scored`. Tensors: `Infer` → `Inferred`.
Any of them may end in `Refused` (this request is at fault) instead. The death of the child ends all of its requests
with `EngineFailedError`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edge_node.engines.resume import Resume
from edge_node.engines.spec import EngineSpec

FinishReason = Literal["stop", "length", "cancelled"]
CachedFrom = Literal["", "memory", "disk", "release"]


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the assistant made: `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class ChatMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn, its content flattened to text."""

    role: str
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class Grammar(Struct, frozen=True, kw_only=True):
    """What an answer's text must match, in llama.cpp's GBNF.

    Attributes:
        triggers: when not empty, the text is free until one of these words has come; what follows it must match.
    """

    text: str
    root: str = "root"
    triggers: tuple[str, ...] = ()


class Sampling(Struct, frozen=True, kw_only=True):
    """How tokens are chosen. Temperature 0 is greedy. `seed` None draws one from the system.

    Attributes:
        repeat_penalty: what the scores of tokens that the answer has already are divided by (multiplied, below 0).
        logprobs_count: None for no log probabilities; else how many alternatives beside each chosen token, 0 to 20.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    stop: tuple[str, ...] = ()
    logprobs_count: int | None = None
    grammar: Grammar | None = None


class Generate(Struct, frozen=True, kw_only=True, tag="generate"):
    """Continue a chat (`messages`) or a text (`text`, or token ids); exactly one of the three is set.

    Attributes:
        tools: definitions as JSON text, each, for the chat template.
        continues_last: the last message is the beginning of the answer, and is continued.
        client: whose request it is; clients get equal shares of the engine, and prefixes are not shared among them.
        deterministic: computed only in batches whose scores are proved equal to those of a lone run.
        reports_progress: `Progress` is wanted until `Started`.
        start_within_s: refused as `node.overloaded` when it still waits after that; None waits for ever.
        resume: goes on where an earlier run of the same command was cut off.
    """

    request_id: str
    messages: tuple[ChatMessage, ...] | None = None
    text: str | None = None
    tokens: tuple[int, ...] | None = None
    tools: tuple[str, ...] = ()
    continues_last: bool = False
    sampling: Sampling = Sampling()
    client: str = ""
    deterministic: bool = False
    reports_progress: bool = False
    start_within_s: float | None = None
    resume: Resume | None = None


class Embed(Struct, frozen=True, kw_only=True, tag="embed"):
    """Embed each input text.

    Attributes:
        dims: the length of the vectors wanted; 0 is the model's own.
        cut_tokens: texts are cut to so many tokens, special ones included; 0 refuses those over the limit,
            -1 cuts to the limit.
    """

    request_id: str
    inputs: tuple[str, ...]
    dims: int = 0
    cut_tokens: int = 0


class Score(Struct, frozen=True, kw_only=True, tag="score"):
    """Put each text through the model's head, alone or as the second half of a pair with `query`.

    Attributes:
        cut_tokens: texts are cut to so many tokens, the query and special ones not counted; 0 refuses those that
            do not fit.
    """

    request_id: str
    texts: tuple[str, ...]
    query: str | None = None
    cut_tokens: int = 0


class Tensor(Struct, frozen=True, kw_only=True):
    """A named array: row-major little-endian elements, or for BYTES each element after its length in 4 bytes.

    Attributes:
        datatype: in the words of the Open Inference Protocol (`FP32`, `INT64`, `BYTES`, …).
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


class TensorSpec(Struct, frozen=True, kw_only=True):
    """An input or output of a model; -1 in the shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Infer(Struct, frozen=True, kw_only=True, tag="infer"):
    """Run the model on tensors; no names in `outputs` want all of them."""

    request_id: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()


class Load(Struct, frozen=True, tag="load"):
    """The first message to a new child: what it is to run."""

    spec: EngineSpec


class Cancel(Struct, frozen=True, tag="cancel"):
    """Stop working on a request; it ends with `Finished(reason="cancelled")`."""

    request_id: str


Compute = Embed | Score | Infer
Request = Generate | Compute
Command = Load | Request | Cancel


class Ready(Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded.

    Attributes:
        abilities: of `chat`, `completion`, `embedding`, `rerank`, `classification`, `tensors`.
        slots: requests worked on at once; further ones wait in the child's queue.
        load_s: how long loading took.
        fingerprint: engine build and settings, for `system_fingerprint`.
        prefixes_usable: prefilled prefixes that the release brings and this engine can use.
        prefixes_unusable: those made for another engine or CPU; they are computed here instead.
        deterministic_rows: up to how many rows a batch was seen to give the very scores of a lone run; 0: not tried.
        shorter_dims: lengths besides its own that the model's vectors may be cut to (Matryoshka).
        any_shorter_dims: they may be cut to any length.
        labels: what the classes are called, in the order of their scores.
        inputs: tensors that `Infer` takes, and `outputs` that it gives.
        batches: requests are computed together when they wait together.
    """

    abilities: tuple[str, ...]
    slots: int
    context_tokens: int
    load_s: float
    fingerprint: str
    embedding_dims: int = 0
    prefixes_usable: int = 0
    prefixes_unusable: int = 0
    deterministic_rows: int = 0
    shorter_dims: tuple[int, ...] = ()
    any_shorter_dims: bool = False
    labels: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    batches: bool = False


class Progress(Struct, frozen=True, kw_only=True, tag="progress"):
    """Before `Started`: how many requests are served before this one, and how much of its prompt has been read."""

    request_id: str
    ahead_count: int
    read_tokens: int
    prompt_tokens: int


class Started(Struct, frozen=True, kw_only=True, tag="started"):
    """The prompt has been read, but for `cached_tokens`, and tokens follow; `read_s` of `prefill_s` went into it alone.

    `resumed_tokens` of the answer were there before, and gave `resumed_text`, which is not told again.
    """

    request_id: str
    prompt_tokens: int
    cached_tokens: int
    resumed_tokens: int = 0
    resumed_text: str = ""
    cached_from: CachedFrom = ""
    queue_s: float
    prefill_s: float
    read_s: float = 0.0


class Choice(Struct, frozen=True, array_like=True):
    """A token that was or could have been chosen, its bytes, and the logarithm of its probability."""

    token: int
    piece: bytes
    logprob: float


class TokenScore(Struct, frozen=True, array_like=True):
    """The chosen token, and the most probable ones in falling order, before any sampling setting but the bias."""

    chosen: Choice
    top: tuple[Choice, ...]


class Delta(Struct, frozen=True, tag="delta"):
    """More text, always whole characters; `tokens_count` tokens made it, with their `scores` if wanted.

    `tokens` are their ids, empty where an engine has none; part of their text may still be held back.
    """

    request_id: str
    text: str
    tokens_count: int
    scores: tuple[TokenScore, ...] = ()
    tokens: tuple[int, ...] = ()


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """The end of a generation.

    Attributes:
        completion_tokens: of the whole answer, those before a cut included.
        guessed_tokens: how many tokens were guessed and computed ahead, those that did not come true included.
        remembered_tokens: what the engine keeps for later prompts now, of all clients, wherever it is.
    """

    request_id: str
    reason: FinishReason
    completion_tokens: int
    decode_s: float
    guessed_tokens: int = 0
    remembered_tokens: int = 0


class Embedded(Struct, frozen=True, kw_only=True, tag="embedded"):
    """Vectors as little-endian float32, shape [inputs, dims], each of length 1 in the Euclidean norm.

    Attributes:
        service_s: from the request's arrival in the child to its answer.
        compute_s: its share of the time that batches took, by tokens.
    """

    request_id: str
    vectors: bytes
    dims: int
    prompt_tokens: int
    service_s: float
    compute_s: float = 0.0


class Scored(Struct, frozen=True, kw_only=True, tag="scored"):
    """Scores as little-endian float32, shape [texts, width]: one relevance, or one probability for each class.

    `service_s` and `compute_s` are those of `Embedded`.
    """

    request_id: str
    values: bytes
    width: int
    prompt_tokens: int
    service_s: float
    compute_s: float


class Inferred(Struct, frozen=True, kw_only=True, tag="inferred"):
    """The tensors that were wanted; `service_s` and `compute_s` are those of `Embedded`."""

    request_id: str
    outputs: tuple[Tensor, ...]
    service_s: float
    compute_s: float


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """This request cannot be done.

    `code` is one of `context_length_exceeded`, `request.invalid`, `resume.mismatched`, `node.overloaded`,
    `engine.failed`.
    """

    request_id: str
    code: str
    message: str
    param: str | None = None


class LoadFailed(Struct, frozen=True, tag="load_failed"):
    """The model cannot be loaded; the child ends after this."""

    message: str


Computed = Embedded | Scored | Inferred
Event = Ready | Progress | Started | Delta | Finished | Computed | Refused | LoadFailed
