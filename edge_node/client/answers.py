"""What a client hands to its caller: answers, pieces of answers, and which node they came from."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Served(Struct, frozen=True, kw_only=True):
    """Which node answered, and how quickly.

    Attributes:
        release: `name@version` as the node said it; empty when it did not.
        distance_km: great-circle distance; None when either place is unknown.
        rtt_ms: the round trip that the origin expected.
        ttft_ms: from the call to the first text (to the first byte of an answer in one piece), as the caller
            waited it: finding the node and failed attempts included.
        total_ms: from the call to the end of the answer.
        attempts: nodes asked, the one that answered included.
        refusals: what the others said, `node id: message`, in order.
    """

    node_id: str
    url: str
    label: str
    release: str
    distance_km: float | None
    rtt_ms: float
    ttft_ms: float
    total_ms: float
    attempts: int
    refusals: tuple[str, ...] = ()


class Piece(Struct, frozen=True, kw_only=True):
    """More text of a stream; `index` is the choice that it belongs to when several were asked for."""

    text: str
    index: int = 0
    finish_reason: str | None = None


class ChatAnswer(Struct, frozen=True, kw_only=True):
    """A whole answer to a chat; `raw` is the node's reply with every field."""

    text: str
    finish_reason: str | None
    usage: Usage
    model: str
    served: Served
    raw: dict[str, Any] = field(default_factory=dict)


class Completion(ChatAnswer, frozen=True, kw_only=True):
    """A whole continuation of a text."""


class Embeddings(list[list[float]]):
    """One vector for each input, in order, each of length 1; with the usage and the node that made them."""

    def __init__(self, vectors: list[list[float]], *, usage: Usage, model: str, served: Served) -> None:
        super().__init__(vectors)
        self.usage = usage
        self.model = model
        self.served = served
