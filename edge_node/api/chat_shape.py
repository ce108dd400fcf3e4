"""A chat's answer in the dialect of `/v1/chat/completions`, calls of tools included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from edge_node.api.logprobs import chat_logprobs
from edge_node.api.replies import (
    AnsweredToolCall,
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatLogprobs,
    FinishReason,
    FunctionCall,
    FunctionCallDelta,
    ToolCallDelta,
    Usage,
)
from edge_node.api.shapes import Answer, Event, Heading, Shape
from edge_node.constraints.call_reader import Arguments, CallBegun, CallReader, Found, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import TokenScore


class ChatShape(Shape):
    """With `count`, chunks say `usage: null` until the last one.

    Args:
        calls: calls of tools are read out of the text.
        named: one function was to be called; then a call is no reason to finish of its own, as at OpenAI.
        scored: the request asks for log probabilities.
    """

    ends_with_done = True

    def __init__(
        self, heading: Heading, *, count: bool, calls: bool = False, named: bool = False, scored: bool = False
    ) -> None:
        self._heading = heading
        self._count = count
        self._usage: UnsetType | None = None if count else UNSET
        self._calls = calls
        self._named = named
        self._scored = scored
        self._readers: dict[int, CallReader] = {}
        self._unsaid: dict[int, list[TokenScore]] = {}

    def opening(self, index: int) -> list[Event]:
        """The role, with no text yet."""
        return [self._event(index, ChatDelta(role="assistant", content="" if not self._calls else None))]

    def delta(self, index: int, text: str, scores: Sequence[TokenScore]) -> list[Event]:
        """More text, or more of a call."""
        if not self._calls:
            logprobs = chat_logprobs(scores) if self._scored else None
            return [self._event(index, ChatDelta(content=text), logprobs=logprobs)]
        self._unsaid.setdefault(index, []).extend(scores)
        found = self._readers.setdefault(index, CallReader()).push(text)
        return [self._found(index, each) for each in found]

    def closing(self, index: int, reason: FinishReason) -> list[Event]:
        """Why the text ended."""
        reader = self._readers.get(index)
        events = [self._found(index, each) for each in reader.finish()] if reader else []
        if reader is not None and reader.calls_count:
            reason = self._reason(reason)
        return [*events, self._event(index, ChatDelta(), reason=reason)]

    def ending(self, counts: Usage) -> list[Event]:
        """The token counts."""
        return [Event(self._chunk((), counts))] if self._count else []

    def whole(self, answers: Sequence[Answer], counts: Usage) -> ChatCompletion:
        """The answer in one piece."""
        heading = self._heading
        return ChatCompletion(
            id=heading.id,
            created=heading.created,
            model=heading.model,
            choices=tuple(self._choice(index, answer) for index, answer in enumerate(answers)),
            usage=counts,
            system_fingerprint=heading.system_fingerprint,
        )

    def _choice(self, index: int, answer: Answer) -> ChatChoice:
        logprobs = chat_logprobs(answer.scores) if self._scored else None
        if not self._calls:
            message = AssistantMessage(content=answer.text)
            return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=answer.reason)
        words, calls = read_calls(answer.text)
        message = AssistantMessage(
            content=words or (None if calls else ""),
            tool_calls=tuple(
                AnsweredToolCall(
                    id=self._call_id(index, at), function=FunctionCall(name=name, arguments=arguments)
                )
                for at, (name, arguments) in enumerate(calls)
            )
            or UNSET,
        )
        reason = self._reason(answer.reason) if calls else answer.reason
        return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=reason)

    def _reason(self, reason: FinishReason) -> FinishReason:
        return "tool_calls" if reason == "stop" and not self._named else reason

    def _found(self, index: int, found: Found) -> Event:
        scores = self._unsaid.get(index, [])
        logprobs = chat_logprobs(scores) if self._scored else None
        scores.clear()
        if isinstance(found, Words):
            return self._event(index, ChatDelta(content=found.text), logprobs=logprobs)
        if isinstance(found, CallBegun):
            call = ToolCallDelta(
                index=found.index,
                id=self._call_id(index, found.index),
                type="function",
                function=FunctionCallDelta(name=found.name, arguments=""),
            )
        else:
            call = ToolCallDelta(index=found.index, function=FunctionCallDelta(arguments=found.text))
        return self._event(index, ChatDelta(tool_calls=(call,)), logprobs=logprobs)

    def _call_id(self, index: int, call_index: int) -> str:
        return call_id(self._heading.id, index, call_index)

    def _event(
        self,
        index: int,
        delta: ChatDelta,
        *,
        reason: FinishReason | None = None,
        logprobs: ChatLogprobs | None = None,
    ) -> Event:
        choice = ChatChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=reason)
        return Event(self._chunk((choice,), self._usage))

    def _chunk(self, choices: tuple[ChatChunkChoice, ...], counts: Usage | UnsetType | None) -> ChatChunk:
        heading = self._heading
        return ChatChunk(
            id=heading.id,
            created=heading.created,
            model=heading.model,
            choices=choices,
            usage=counts,
            system_fingerprint=heading.system_fingerprint,
        )


def call_id(answer_id: str, index: int, call_index: int) -> str:
    """The id of a call, of its own among all answers of this node."""
    return f"call_{answer_id.rpartition('-')[2].rpartition('_')[2]}{index:02d}{call_index:02d}"


def read_calls(text: str) -> tuple[str, list[tuple[str, str]]]:
    """A whole text's words, and its calls as names and arguments."""
    reader = CallReader()
    words: list[str] = []
    calls: list[tuple[str, str]] = []
    for found in (*reader.push(text), *reader.finish()):
        if isinstance(found, Words):
            words.append(found.text)
        elif isinstance(found, CallBegun):
            calls.append((found.name, ""))
        elif isinstance(found, Arguments):
            name, arguments = calls[-1]
            calls[-1] = (name, arguments + found.text)
    return "".join(words), calls
