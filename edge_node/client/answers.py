"""What a client hands to its caller: answers, pieces of answers, and which node they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        handed_on: how many nodes handed the request on before this one took it.
        hedged: whether this node was the second one asked because the first was late.
        resumed_count: how often a stream broke and went on, here or at another node.
        nodes: ids of the nodes whose text it is, in order; the last one is `node_id`.
        cache: what the node said of its kept answers: `hit` where this is one, `coalesced` where it was being written
            for somebody else already, `miss`, `bypass`; empty when it said nothing.
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
    handed_on: int = 0
    hedged: bool = False
    resumed_count: int = 0
    nodes: tuple[str, ...] = ()
    cache: str = ""


class Piece(Struct, frozen=True, kw_only=True):
    """More text of a stream; `index` is the choice that it belongs to when several were asked for."""

    text: str
    index: int = 0
    finish_reason: str | None = None


class Waiting(Struct, frozen=True, kw_only=True):
    """How far an answer is that has not begun: `queued` or `reading`.

    Attributes:
        place: how many requests are served before it.
        percent: how much of the prompt has been read.
        eta_s: how long it will still wait in the queue, by the node's guess.
    """

    state: str
    place: int | None = None
    percent: int | None = None
    eta_s: float | None = None


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
    """One vector for each input, in order, each of length 1; with the usage and the node that made them.

    `space_id` names the space that they are in; vectors of two spaces cannot be compared. Keep it with an index, and
    ask for `embed#SPACE` to get vectors of that space or an error. Empty where the publisher did not say.
    """

    def __init__(
        self, vectors: list[list[float]], *, usage: Usage, model: str, served: Served, space_id: str = ""
    ) -> None:
        super().__init__(vectors)
        self.space_id = space_id
        self.usage = usage
        self.model = model
        self.served = served


class Ranked(Struct, frozen=True):
    """A document's place in the question, and its relevance between 0 and 1."""

    index: int
    relevance_score: float


class Ranking(list[Ranked]):
    """Documents, the most relevant first; with the usage and the node that ranked them."""

    def __init__(self, ranked: Iterable[Ranked], *, usage: Usage, model: str, served: Served) -> None:
        super().__init__(ranked)
        self.usage = usage
        self.model = model
        self.served = served


class Classified(Struct, frozen=True):
    """A text's likeliest label, and the probability of each."""

    label: str
    probabilities: dict[str, float]


class Classes(list[Classified]):
    """One class for each text, in order; with the usage and the node that found them."""

    def __init__(self, classified: Iterable[Classified], *, usage: Usage, model: str, served: Served) -> None:
        super().__init__(classified)
        self.usage = usage
        self.model = model
        self.served = served
