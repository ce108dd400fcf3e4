"""What one release's engine has read and still keeps, as the marks that the node tells origins (`origin.prefixes`).

The front knows the texts that it sent, the engine how many tokens it keeps of all that it read. So the marks of prompts
are held here in the order of their last use, each with the tokens that its stretch took, and the oldest go until what
is left is no more than the engine says that it keeps. The engine does not always forget in exactly that order, so a
sketch is a good guess, never a promise: an origin that believed too much only predicted a shorter prefill.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from origin.prefixes import marks_of, pack_sketch
from origin.prompt_text import message_turns, tools_turn, turns_text

if TYPE_CHECKING:
    from edge_node.engines import Finished, Generate, Started
    from origin.prefixes import Mark, Marks

REPORTED_LIMIT_COUNT = 128
"""Marks in a heartbeat, 4 bytes each: some eight prompts of 8 KB that share nothing, or many that share much."""
_SHARED_LIMIT_COUNT = 48
_HELD_LIMIT_COUNT = 4096
_SLACK_TOKENS = 64
"""Stretches are not counted exactly here, and a whole one would go for a token too many."""


@dataclass(eq=False, slots=True)
class Reading:
    """A prompt that an engine has read for a generation that is not over."""

    tail: int
    tokens_count: int


class KeptPrompts:
    """One release's, while one engine process lives.

    Args:
        model: the release's name, without version.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._salt = b""
        self._tokens: OrderedDict[int, float] = (
            OrderedDict()
        )  # the coldest first; below 0: what follows the marks
        self._sum_tokens = 0.0
        self._shared: dict[int, None] = {}
        self._at_work: set[Reading] = set()

    def salt_with(self, salt: bytes) -> None:
        """Mark with this salt from now on; what was marked with another means nothing any more."""
        if salt and salt != self._salt:
            self._salt = salt
            self.forget()

    def forget(self) -> None:
        """The engine is another one."""
        self._tokens.clear()
        self._shared.clear()
        self._at_work.clear()
        self._sum_tokens = 0.0

    def read(self, command: Generate, started: Started) -> Reading | None:
        """Note a prompt that has been read, until `left`; None for one that is not kept, or cannot be marked."""
        # Deterministic answers are computed apart, and token ids have no text that a door could know.
        if not self._salt or command.deterministic:
            return None
        text = prompt_text(command)
        if not text or not started.prompt_tokens:
            return None
        marks = marks_of(text, salt=self._salt, client=command.client, model=self._model)
        token_share = started.prompt_tokens / len(text)
        self._note(marks.own, token_share)
        end_bytes = marks.own[-1].end_bytes if marks.own else 0
        reading = Reading(-1 - (hash((command.client, text)) & (2**62 - 1)), started.prompt_tokens)
        self._put(reading.tail, (len(text) - end_bytes) * token_share)
        self._warm(marks, reading.tail)
        if started.cached_from == "release":
            self._share(marks, started.cached_tokens / token_share)
        self._at_work.add(reading)
        return reading

    def finished(self, reading: Reading, finished: Finished) -> None:
        """The answer is there: it is kept behind its prompt, and the engine has said how much it keeps in all."""
        self.left(reading)
        if reading.tail in self._tokens:
            # The last token of an answer is chosen, and never read.
            answer_tokens = max(0, finished.completion_tokens - 1)
            self._put(reading.tail, self._tokens[reading.tail] + answer_tokens)
        # What others at work have read is in the engine, and not yet in its count.
        self._fit(finished.remembered_tokens + sum(other.tokens_count for other in self._at_work))

    def left(self, reading: Reading) -> None:
        """The generation is over, finished or not."""
        self._at_work.discard(reading)

    def sketch(self) -> bytes:
        """The marks that a heartbeat tells: what everybody may share, then the warmest."""
        told = dict(self._shared)
        for number in reversed(self._tokens):
            if len(told) >= REPORTED_LIMIT_COUNT:
                break
            if number >= 0:
                told[number] = None
        return pack_sketch(told)

    def _note(self, marks: tuple[Mark, ...], token_share: float) -> None:
        start_bytes = 0
        for mark in marks:
            self._put(mark.number, (mark.end_bytes - start_bytes) * token_share)
            start_bytes = mark.end_bytes

    def _put(self, number: int, tokens: float) -> None:
        self._sum_tokens += tokens - self._tokens.get(number, 0.0)
        self._tokens[number] = tokens

    def _warm(self, marks: Marks, tail: int) -> None:
        """Make a prompt the warmest, its beginning most of all: a longer one is of no use without the shorter."""
        self._tokens.move_to_end(tail)
        for mark in reversed(marks.own):
            self._tokens.move_to_end(mark.number)

    def _share(self, marks: Marks, kept_bytes: float) -> None:
        """What came out of the release itself is there for every client, and stays."""
        for mark in marks.everybody:
            if mark.end_bytes <= kept_bytes and len(self._shared) < _SHARED_LIMIT_COUNT:
                self._shared[mark.number] = None

    def _fit(self, limit_tokens: float) -> None:
        limit_tokens += min(limit_tokens, _SLACK_TOKENS)
        while self._tokens and (self._sum_tokens > limit_tokens or len(self._tokens) > _HELD_LIMIT_COUNT):
            _, tokens = self._tokens.popitem(last=False)
            self._sum_tokens -= tokens


def prompt_text(command: Generate) -> bytes:
    """The prompt of a generation, as a door sees it too (`origin.prompt_text`); empty for token ids."""
    if command.text is not None:
        return command.text.encode(errors="surrogatepass")
    turns = [tools_turn(command.tools)] if command.tools else []
    for message in command.messages or ():
        calls = [(call.name, call.arguments) for call in message.tool_calls]
        turns.extend(message_turns(message.role, message.content, calls))
    return turns_text(turns)
