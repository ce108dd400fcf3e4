"""The marks of a resumable stream: with each chunk the tokens that gave it, so that the answer can go on elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge_node.api.mark import Mark
from edge_node.continuation import Written

if TYPE_CHECKING:
    from edge_node.api.replies import FinishReason
    from edge_node.api.shapes import Event, Shape
    from edge_node.engines import Delta, Started
    from edge_node.engines.resume import Resume


class Marks:
    """The chunks of one answer with their marks.

    Args:
        resume: what was told of it before, by whoever was cut off.
        identity: what it needs to go on (`edge_node.continuation.identity_of`).
        silence_s: the longest silence of the stream.
    """

    def __init__(self, shape: Shape, resume: Resume | None, identity: str, *, silence_s: float) -> None:
        self._shape = shape
        self._written = Written(resume)
        self._identity = identity
        self._silence_s = silence_s
        self._unmarked: list[int] = []

    def opening(self, started: Started) -> list[Event]:
        """What is said before more text; the mark promises that the answer can go on, and says from where it does."""
        events = self._shape.opening(0) or self._shape.delta(0, "", ())
        # Told already: the shape only has to know it.
        self._shape.delta(0, started.resumed_text, ())
        written = self._written
        mark = Mark(
            release=self._identity,
            silence_s=self._silence_s,
            tokens_count=len(written.tokens),
            text_chars=written.text_chars,
        )
        return _marked(events, mark)

    def delta(self, delta: Delta) -> list[Event]:
        """More text; without a mark from where on the engine does not tell its tokens."""
        self._written.note(delta)
        self._unmarked.extend(delta.tokens)
        events = self._shape.delta(0, delta.text, delta.scores)
        if not events or not self._written.known:
            return events
        tokens = tuple(self._unmarked)
        self._unmarked.clear()
        return _marked(events, Mark(tokens=tokens, text_chars=self._written.text_chars))

    def closing(self, reason: FinishReason) -> list[Event]:
        """Why the text ended; text that is told with it is as settled as the end."""
        *others, last = self._shape.closing(0, reason)
        return [*map(_unsettled, others), last]


def _marked(events: list[Event], mark: Mark) -> list[Event]:
    *others, last = events
    return [
        *map(_unsettled, others),
        last._replace(chunk=msgspec.structs.replace(last.chunk, edgeward=mark)),
    ]


def _unsettled(event: Event) -> Event:
    return event._replace(chunk=msgspec.structs.replace(event.chunk, edgeward=Mark(more=True)))
