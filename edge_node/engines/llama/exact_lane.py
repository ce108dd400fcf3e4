"""The lane of deterministic requests: what they get does not depend on who else is served.

Floating-point sums depend on their order, and llama.cpp chooses kernels by the number of rows, lays sequences out in
shared cells as they come, and splits work by the length of the cache. So these requests have a context of their own,
in which each has cells to itself; prompts are read alone, in chunks that begin at multiples of `CHUNK_TOKENS`; and no
more answers share a batch than were seen to leave the scores as they are (`determinism`). A prefix is used again only
in whole chunks, which were computed in just the way in which they would be computed again. For the same reason the
tokens of an answer that was cut off are computed one by one, as they were the first time, and not read like a prompt.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from edge_node.engines.llama.batch import Outcome
from edge_node.engines.llama.prefix_tree import common_prefix_count
from edge_node.engines.llama.slots import Share, Slot
from edge_node.errors import EngineFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_node.engines import Event
    from edge_node.engines.llama.generation import Generation

CHUNK_TOKENS = 128


class Decodes(Protocol):
    """What computes rows (`batch.Decoder`)."""

    context: Any

    def decode(self, shares: Sequence[Share], tokens: Sequence[Sequence[int]]) -> Outcome:
        """Compute the rows of all shares."""


class Forgets(Protocol):
    """What drops cells (`memory.KvMemory`)."""

    def forget(self, sequence: int, position: int) -> bool:
        """Drop a sequence's cells from `position` on."""


class ExactLane:
    """Deterministic generations, at most `rows` at work at once, the others in order of arrival.

    Args:
        advance: takes the next token of a generation from a row of the context; what to say, and whether it ended.
    """

    def __init__(
        self,
        decoder: Decodes,
        memory: Forgets,
        *,
        rows: int,
        advance: Callable[[Generation, Any, int], tuple[list[Event], bool]],
    ) -> None:
        self._decoder = decoder
        self._memory = memory
        self._advance = advance
        self._slots = [Slot(index) for index in range(rows)]
        self._uses_count = 0
        self._at_work: list[tuple[Generation, Slot]] = []
        self._waiting: list[Generation] = []

    @property
    def busy(self) -> bool:
        """There is work."""
        return bool(self._at_work or self._waiting)

    def arrive(self, generation: Generation) -> None:
        """Wait for a place."""
        self._waiting.append(generation)

    def generations(self) -> list[Generation]:
        """All that are here."""
        return [*(generation for generation, _ in self._at_work), *self._waiting]

    def leave(self, generation: Generation) -> None:
        """Go for good; whole chunks of the prompt are remembered."""
        if generation in self._waiting:
            self._waiting.remove(generation)
        for entry in [entry for entry in self._at_work if entry[0] is generation]:
            _, slot = entry
            self._at_work.remove(entry)
            self._cut(slot, min(generation.prompt_tokens, len(slot.cached)))
            generation.slot = None
        generation.sampler.free()

    def step(self, now_s: float) -> list[Event]:
        """Read one chunk of one prompt, then compute one token of each answer.

        Raises:
            EngineFailedError: the context failed.
        """
        self._admit(now_s)
        said: list[Event] = []
        reading = next((entry for entry in self._at_work if _unread_count(*entry) > 1), None)
        answering = [entry for entry in self._at_work if _unread_count(*entry) <= 1]
        if reading is not None:
            generation, slot = reading
            start = len(slot.cached)
            end = min(generation.prompt_tokens, (start // CHUNK_TOKENS + 1) * CHUNK_TOKENS)
            said += self._compute([(generation, slot)], end - start)
        if answering:
            said += self._compute(answering, 1)
        return said

    def _compute(self, parts: list[tuple[Generation, Slot]], count: int) -> list[Event]:
        shares = [
            Share(slot.index, len(slot.cached), count, wants_scores=_wants_scores(generation, slot, count))
            for generation, slot in parts
        ]
        tokens = [
            generation.tokens[len(slot.cached) : len(slot.cached) + count] for generation, slot in parts
        ]
        began_s = time.monotonic()
        if self._decoder.decode(shares, tokens) is not Outcome.DONE:
            raise EngineFailedError(
                "llama.cpp failed to decode a deterministic request; its memory can no longer be trusted"
            )
        for generation, _ in parts:
            if not generation.started:
                generation.read_s += (time.monotonic() - began_s) / len(parts)
        said: list[Event] = []
        for row, ((generation, slot), share, part) in enumerate(zip(parts, shares, tokens, strict=True)):
            slot.cached.extend(part)
            if share.wants_scores and not generation.missing_count:
                events, last = self._advance(generation, self._decoder.context, row + count - 1)
                said += events
                if last:
                    self.leave(generation)
        return said

    def _admit(self, now_s: float) -> None:
        while self._waiting and len(self._at_work) < len(self._slots):
            generation = self._waiting.pop(0)
            taken = {slot.index for _, slot in self._at_work}
            idle = [slot for slot in self._slots if slot.index not in taken]
            slot = max(idle, key=lambda slot: (_reusable_count(slot, generation), -slot.used_at))
            self._cut(slot, _reusable_count(slot, generation))
            self._uses_count += 1
            slot.used_at, slot.client = self._uses_count, generation.client
            self._at_work.append((generation, slot))
            generation.admit(slot, cached_from="memory" if slot.cached else "", now_s=now_s)

    def _cut(self, slot: Slot, keep_count: int) -> None:
        keep_count -= keep_count % CHUNK_TOKENS
        self._memory.forget(slot.index, keep_count)
        del slot.cached[keep_count:]


def _unread_count(generation: Generation, slot: Slot) -> int:
    """Tokens of the prompt that are not computed yet; below 1 when those of the answer follow."""
    return generation.prompt_tokens - len(slot.cached)


def _wants_scores(generation: Generation, slot: Slot, count: int) -> bool:
    """The scores of a row are asked for where they were the first time, also when it is known what followed."""
    return _unread_count(generation, slot) <= count


def _reusable_count(slot: Slot, generation: Generation) -> int:
    """Whole chunks that a generation's prompt begins with, if they are its client's own."""
    if slot.client != generation.client:
        return 0
    count = common_prefix_count(slot.cached, generation.tokens[: generation.prompt_tokens - 1])
    return count - count % CHUNK_TOKENS
