"""An answer in the dialect of `/v1/responses`: items of output, and the events by which a stream builds them.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edge_node.api.chat_shape import call_id
from edge_node.api.logprobs import chat_logprobs
from edge_node.api.responses_replies import (
    IncompleteDetails,
    Output,
    OutputCall,
    OutputMessage,
    OutputText,
    Response,
    ResponsesUsage,
    Status,
)
from edge_node.api.shapes import Answer, Event, Heading, Shape
from edge_node.constraints.call_reader import Arguments, CallBegun, CallReader, Found, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.api.replies import ChosenLogprob, FinishReason, Usage
    from edge_node.api.responses_requests import ResponsesRequest
    from edge_node.engines import TokenScore


class ResponsesShape(Shape):
    """One answer: this dialect has no choices.

    Args:
        calls: calls of tools are read out of the text.
        scored: the request asks for log probabilities.
    """

    ends_with_done = False

    def __init__(self, heading: Heading, asked: ResponsesRequest, *, calls: bool, scored: bool) -> None:
        self._heading = heading
        self._asked = asked
        self._reader = CallReader() if calls else None
        self._scored = scored
        self._id = heading.id.replace("-", "_", 1)
        self._done: list[Output] = []
        self._open: Output | None = None
        self._scores: list[ChosenLogprob] = []
        self._events_count = 0
        self._status: Status = "in_progress"

    def opening(self, index: int) -> list[Event]:  # noqa: ARG002 - there is one answer
        """The response, with nothing in it yet."""
        return [
            self._event("response.created", {"response": self._response(None)}),
            self._event("response.in_progress", {"response": self._response(None)}),
        ]

    def delta(self, index: int, text: str, scores: Sequence[TokenScore]) -> list[Event]:  # noqa: ARG002
        """More text, or more of a call."""
        if self._scored:
            self._scores.extend(chat_logprobs(scores).content)
        found = [Words(text)] if self._reader is None else self._reader.push(text)
        return [event for each in found for event in self._found(each)]

    def closing(self, index: int, reason: FinishReason) -> list[Event]:  # noqa: ARG002
        """The end of the last item."""
        found = self._reader.finish() if self._reader is not None else []
        events = [event for each in found for event in self._found(each)]
        self._status = "incomplete" if reason == "length" else "completed"
        if self._open is None and not self._done:
            events += self._begin_message()  # an answer of no words is a message all the same
        return events + self._close(self._status)

    def ending(self, counts: Usage) -> list[Event]:
        """The whole response."""
        return [self._event(f"response.{self._status}", {"response": self._response(counts)})]

    def whole(self, answers: Sequence[Answer], counts: Usage) -> Response:
        """The answer in one piece."""
        [answer] = answers
        self.delta(0, answer.text, answer.scores)
        self.closing(0, answer.reason)
        return self._response(counts)

    # ---- items

    def _found(self, found: Found) -> list[Event]:
        if isinstance(found, Words):
            return self._words(found.text)
        if isinstance(found, CallBegun):
            return self._close("completed") + self._begin_call(found)
        return self._arguments(found)

    def _words(self, text: str) -> list[Event]:
        events = [] if isinstance(self._open, OutputMessage) else self._begin_message()
        assert isinstance(self._open, OutputMessage)
        scores, self._scores = tuple(self._scores), []
        before = self._open.content[0]
        part = msgspec.structs.replace(before, text=before.text + text, logprobs=before.logprobs + scores)
        self._open = msgspec.structs.replace(self._open, content=(part,))
        told = {**self._place(), "content_index": 0, "delta": text, "logprobs": scores}
        return [*events, self._event("response.output_text.delta", told)]

    def _begin_message(self) -> list[Event]:
        item_id = f"msg_{self._id.rpartition('_')[2]}{len(self._done):02d}"
        begun = OutputMessage(id=item_id, status="in_progress", content=())
        part = OutputText(text="")
        self._open = msgspec.structs.replace(begun, content=(part,))
        return [
            self._event("response.output_item.added", {"output_index": len(self._done), "item": begun}),
            self._event("response.content_part.added", {**self._place(), "content_index": 0, "part": part}),
        ]

    def _begin_call(self, found: CallBegun) -> list[Event]:
        name = call_id(self._id, 0, found.index)
        self._open = OutputCall(
            id=f"fc{name.removeprefix('call')}",
            call_id=name,
            name=found.name,
            arguments="",
            status="in_progress",
        )
        return [
            self._event("response.output_item.added", {"output_index": len(self._done), "item": self._open})
        ]

    def _arguments(self, found: Arguments) -> list[Event]:
        assert isinstance(self._open, OutputCall)
        self._open = msgspec.structs.replace(self._open, arguments=self._open.arguments + found.text)
        return [self._event("response.function_call_arguments.delta", {**self._place(), "delta": found.text})]

    def _close(self, status: Status) -> list[Event]:
        if self._open is None:
            return []
        item = msgspec.structs.replace(self._open, status=status)
        place = self._place()
        events: list[Event] = []
        if isinstance(item, OutputMessage):
            part = item.content[0]
            within = {**place, "content_index": 0}
            said = {**within, "text": part.text, "logprobs": part.logprobs}
            events.append(self._event("response.output_text.done", said))
            events.append(self._event("response.content_part.done", {**within, "part": part}))
        else:
            said = {**place, "name": item.name, "arguments": item.arguments}
            events.append(self._event("response.function_call_arguments.done", said))
        events.append(
            self._event("response.output_item.done", {"output_index": len(self._done), "item": item})
        )
        self._done.append(item)
        self._open = None
        return events

    def _place(self) -> dict[str, Any]:
        assert self._open is not None, "only what is open has a place"
        return {"item_id": self._open.id, "output_index": len(self._done)}

    def _event(self, name: str, told: dict[str, Any]) -> Event:
        self._events_count += 1
        return Event({"type": name, "sequence_number": self._events_count - 1, **told}, name)

    def _response(self, counts: Usage | None) -> Response:
        asked, heading = self._asked, self._heading
        wanted = asked.text.format if asked.text is not None else None
        return Response(
            id=self._id,
            created_at=heading.created,
            status=self._status,
            incomplete_details=IncompleteDetails() if self._status == "incomplete" else None,
            instructions=asked.instructions,
            max_output_tokens=asked.max_output_tokens,
            metadata=asked.metadata or {},
            model=heading.model,
            output=tuple(self._done),
            parallel_tool_calls=asked.parallel_tool_calls is not False,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            text={"format": {"type": "text"} if wanted is None else _said(wanted)},
            tool_choice="auto" if asked.tool_choice is None else _said(asked.tool_choice),
            tools=[_said(tool) for tool in asked.tools or ()],
            top_logprobs=asked.top_logprobs or 0,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            usage=None if counts is None else _usage(counts),
        )


def _said(value: Any) -> Any:
    """What was asked, without what was not said."""
    plain = msgspec.to_builtins(value)
    return (
        {key: inner for key, inner in plain.items() if inner is not None}
        if isinstance(plain, dict)
        else plain
    )


def _usage(counts: Usage) -> ResponsesUsage:
    return ResponsesUsage(
        input_tokens=counts.prompt_tokens,
        input_tokens_details=counts.prompt_tokens_details,
        output_tokens=counts.completion_tokens,
        total_tokens=counts.total_tokens,
    )
