"""What a client reads of nodes' answers in one piece; the rest of them is passed over."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from edge_node.client.answers import Ranked, Usage


class Message(Struct, frozen=True):
    """A choice of a chat."""

    content: str | None = None


class ReplyChoice(Struct, frozen=True):
    """One choice of an answer."""

    message: Message = Message()
    text: str | None = None
    finish_reason: str | None = None


class TextReply(Struct, frozen=True):
    """A chat's or a completion's answer."""

    choices: tuple[ReplyChoice, ...]
    usage: Usage = Usage()
    model: str = ""


class Vector(Struct, frozen=True):
    """One embedding, in whichever form."""

    embedding: Any
    index: int = 0


class VectorsReply(Struct, frozen=True):
    """The answer of `/v1/embeddings`."""

    data: tuple[Vector, ...]
    usage: Usage = Usage()
    model: str = ""
    space_id: str = ""


class RankingReply(Struct, frozen=True):
    """The answer of `/v1/rerank`."""

    results: tuple[Ranked, ...]
    usage: Usage = Usage()
    model: str = ""


class Probs(Struct, frozen=True):
    """One text's class."""

    label: str
    probs: tuple[float, ...]


class ClassesReply(Struct, frozen=True):
    """The answer of `/v1/classify`."""

    labels: tuple[str, ...]
    data: tuple[Probs, ...]
    usage: Usage = Usage()
    model: str = ""
