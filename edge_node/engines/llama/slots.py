"""Which slot a request gets and which rows a step computes: pure decisions about tokens in KV cells.

Continuous batching after Orca (Yu et al., OSDI 2022), chunked prefill after Sarathi (Agrawal et al., 2023),
preemption by recomputation after vLLM (Kwon et al., SOSP 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Slot:
    """A sequence of the context.

    Attributes:
        cached: the tokens whose keys and values are in its cells, from position 0.
        used_at: counts up; the smallest is the slot unused for longest.
    """

    index: int
    cached: list[int] = field(default_factory=list)
    used_at: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """A sequence's part of a step: `count` rows from `position`; the last one's scores, if they are wanted."""

    slot: int
    position: int
    count: int
    wants_scores: bool


def common_prefix_count(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for count, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return count
    return min(len(left), len(right))


def reusable_count(cached: Sequence[int], prompt: Sequence[int]) -> int:
    """How many cached tokens a prompt can keep: its last token is always computed, for its scores."""
    return min(common_prefix_count(cached, prompt), len(prompt) - 1)


def choose_slot(idle: Sequence[Slot], prompt: Sequence[int]) -> Slot:
    """The idle slot that keeps most of the prompt; among equals an empty one, then the one unused for longest."""
    return min(idle, key=lambda slot: (-reusable_count(slot.cached, prompt), bool(slot.cached), slot.used_at))


def plan_step(
    needs: Sequence[tuple[Slot, Sequence[int]]], *, batch_tokens: int, chunk_tokens: int
) -> list[Share]:
    """The rows of the next step for sequences in the order of their arrival.

    Each sequence that has its prompt behind it gets its one row; what is left of `chunk_tokens` goes to the prompts
    in order, so that a long prompt never holds up running answers by more than a chunk.

    Args:
        needs: slots with all the tokens of their sequence, cached or not; at least one is not cached.
        batch_tokens: the most rows of a step; at least `len(needs)`.
        chunk_tokens: the most rows of prompts in a step.
    """
    shares: list[Share] = []
    room = min(chunk_tokens, batch_tokens - sum(1 for slot, tokens in needs if _missing(slot, tokens) == 1))
    for slot, tokens in needs:
        missing = _missing(slot, tokens)
        count = 1 if missing == 1 else min(missing, room)
        if missing > 1:
            room -= count
        if count:
            shares.append(Share(slot.index, len(slot.cached), count, wants_scores=count == missing))
    return shares


def slots_to_empty(idle: Sequence[Slot], *, missing_cells_count: int) -> list[Slot]:
    """Idle slots whose remembered tokens must go to free so many cells, the longest unused first."""
    emptied: list[Slot] = []
    for slot in sorted(idle, key=lambda slot: slot.used_at):
        if missing_cells_count <= 0:
            break
        if slot.cached:
            emptied.append(slot)
            missing_cells_count -= len(slot.cached)
    return emptied


def _missing(slot: Slot, tokens: Sequence[int]) -> int:
    return len(tokens) - len(slot.cached)
