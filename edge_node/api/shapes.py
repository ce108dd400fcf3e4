"""One generation told in one of OpenAI's two dialects (chat, completion), whole or in chunks."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edge_node.api.replies import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    Chunk,
    FinishReason,
    TextChoice,
    TextCompletion,
    Usage,
    Whole,
)


class Heading(Struct, frozen=True, kw_only=True):
    """What every chunk of one answer repeats; `model` is the release, `name@version`."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class Shape(Protocol):
    """A generation told in one of OpenAI's dialects."""

    def opening(self) -> Chunk | None:
        """The chunk before any text, where the dialect has one."""

    def delta(self, text: str) -> Chunk:
        """A chunk with more text."""

    def closing(self, reason: FinishReason) -> Chunk:
        """The chunk that says why the text ended."""

    def counted(self, counts: Usage) -> Chunk:
        """The chunk with the token counts, after the closing one."""

    def whole(self, text: str, reason: FinishReason, counts: Usage) -> Whole:
        """The answer in one piece."""


class ChatShape(Shape):
    """The dialect of `/v1/chat/completions`; with `count`, chunks say `usage: null` until the last one."""

    def __init__(self, heading: Heading, *, count: bool) -> None:
        self._heading = heading
        self._usage: UnsetType | None = None if count else UNSET

    def opening(self) -> ChatChunk:
        """The role, with no text yet."""
        return self._chunk(ChatDelta(role="assistant", content=""))

    def delta(self, text: str) -> ChatChunk:
        """More text."""
        return self._chunk(ChatDelta(content=text))

    def closing(self, reason: FinishReason) -> ChatChunk:
        """Why the text ended."""
        return self._chunk(ChatDelta(), reason)

    def counted(self, counts: Usage) -> ChatChunk:
        """The token counts."""
        return ChatChunk(**msgspec.structs.asdict(self._heading), choices=(), usage=counts)

    def whole(self, text: str, reason: FinishReason, counts: Usage) -> ChatCompletion:
        """The answer in one piece."""
        choice = ChatChoice(message=AssistantMessage(content=text), finish_reason=reason)
        return ChatCompletion(**msgspec.structs.asdict(self._heading), choices=(choice,), usage=counts)

    def _chunk(self, delta: ChatDelta, reason: FinishReason | None = None) -> ChatChunk:
        choice = ChatChunkChoice(delta=delta, finish_reason=reason)
        heading = self._heading
        return ChatChunk(
            id=heading.id,
            created=heading.created,
            model=heading.model,
            choices=(choice,),
            usage=self._usage,
            system_fingerprint=heading.system_fingerprint,
        )


class TextShape(Shape):
    """The dialect of `/v1/completions`; with `count`, chunks say `usage: null` until the last one."""

    def __init__(self, heading: Heading, *, count: bool) -> None:
        self._heading = heading
        self._usage: UnsetType | None = None if count else UNSET

    def opening(self) -> None:
        """Nothing: a completion's stream begins with text."""

    def delta(self, text: str) -> TextCompletion:
        """More text."""
        return self._text((TextChoice(text=text, finish_reason=None),), self._usage)

    def closing(self, reason: FinishReason) -> TextCompletion:
        """Why the text ended."""
        return self._text((TextChoice(text="", finish_reason=reason),), self._usage)

    def counted(self, counts: Usage) -> TextCompletion:
        """The token counts."""
        return self._text((), counts)

    def whole(self, text: str, reason: FinishReason, counts: Usage) -> TextCompletion:
        """The answer in one piece."""
        return self._text((TextChoice(text=text, finish_reason=reason),), counts)

    def _text(self, choices: tuple[TextChoice, ...], counts: Usage | UnsetType | None) -> TextCompletion:
        heading = self._heading
        return TextCompletion(
            id=heading.id,
            created=heading.created,
            model=heading.model,
            choices=choices,
            usage=counts,
            system_fingerprint=heading.system_fingerprint,
        )
