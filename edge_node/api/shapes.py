"""Generations told in one of OpenAI's dialects, whole or in chunks: the heading, the protocol, and completions.

`chat_shape` tells chats, `responses_shape` the events of `/v1/responses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from edge_node.api.logprobs import text_logprobs
from edge_node.api.replies import FinishReason, TextChoice, TextCompletion, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import TokenScore


class Heading(Struct, frozen=True, kw_only=True):
    """What every chunk of one answer repeats; `model` is the release, `name@version`."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class Answer(NamedTuple):
    """One whole choice."""

    text: str
    scores: Sequence[TokenScore]
    reason: FinishReason


class Event(NamedTuple):
    """A chunk with the name that server-sent events give it; most dialects have no names."""

    chunk: Any
    name: str = ""


class Shape(Protocol):
    """A request's answer, of one or several choices, told in one of OpenAI's dialects."""

    ends_with_done: bool

    def opening(self, index: int) -> list[Event]:
        """What is said before any text of a choice."""

    def delta(self, index: int, text: str, scores: Sequence[TokenScore]) -> list[Event]:
        """More text of a choice."""

    def closing(self, index: int, reason: FinishReason) -> list[Event]:
        """Why the text of a choice ended."""

    def ending(self, counts: Usage) -> list[Event]:
        """What is said when all choices are closed."""

    def whole(self, answers: Sequence[Answer], counts: Usage) -> Any:
        """The answer in one piece."""


class TextShape(Shape):
    """The dialect of `/v1/completions`; with `count`, chunks say `usage: null` until the last one.

    Args:
        echoed: texts that the choices begin with; empty for none.
        scored: the request asks for log probabilities.
    """

    ends_with_done = True

    def __init__(
        self, heading: Heading, *, count: bool, echoed: Sequence[str] = (), scored: bool = False
    ) -> None:
        self._heading = heading
        self._count = count
        self._usage: UnsetType | None = None if count else UNSET
        self._echoed = echoed
        self._scored = scored
        self._offsets: dict[int, int] = {}

    def opening(self, index: int) -> list[Event]:
        """The prompt, where it is echoed."""
        echoed = self._echoed[index] if self._echoed else ""
        return [self._event(TextChoice(index=index, text=echoed, finish_reason=None))] if echoed else []

    def delta(self, index: int, text: str, scores: Sequence[TokenScore]) -> list[Event]:
        """More text."""
        logprobs = None
        if self._scored:
            offset = self._offsets.get(index, 0)
            logprobs = text_logprobs(scores, offset=offset)
            self._offsets[index] = offset + len(text)
        return [self._event(TextChoice(index=index, text=text, logprobs=logprobs, finish_reason=None))]

    def closing(self, index: int, reason: FinishReason) -> list[Event]:
        """Why the text ended."""
        return [self._event(TextChoice(index=index, text="", finish_reason=reason))]

    def ending(self, counts: Usage) -> list[Event]:
        """The token counts."""
        return [Event(self._completion((), counts))] if self._count else []

    def whole(self, answers: Sequence[Answer], counts: Usage) -> TextCompletion:
        """The answer in one piece."""
        choices = tuple(
            TextChoice(
                index=index,
                text=(self._echoed[index] if self._echoed else "") + answer.text,
                logprobs=text_logprobs(answer.scores, offset=0) if self._scored else None,
                finish_reason=answer.reason,
            )
            for index, answer in enumerate(answers)
        )
        return self._completion(choices, counts)

    def _event(self, choice: TextChoice) -> Event:
        return Event(self._completion((choice,), self._usage))

    def _completion(
        self, choices: tuple[TextChoice, ...], counts: Usage | UnsetType | None
    ) -> TextCompletion:
        return TextCompletion(**msgspec.structs.asdict(self._heading), choices=choices, usage=counts)
