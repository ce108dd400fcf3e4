"""Which rows a step computes: pure decisions about the sequences of a context.

Continuous batching after Orca (Yu et al., OSDI 2022), chunked prefill after Sarathi (Agrawal et al., 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# The longest waiting prompt gets this part of its client's rows, whatever comes after it.
_OLDEST_SHARE = 4


@dataclass(slots=True, eq=False)
class Slot:
    """A sequence of the context, at work or remembering.

    Attributes:
        cached: the tokens whose keys and values are in its cells, from position 0.
        cells: the cells, by the books of `cells.Cells`; as many as `cached`.
        client: whose tokens these are.
        used_at: counts up; the smallest is the one unused for longest.
    """

    index: int
    cached: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    client: str = ""
    used_at: int = 0


class Need(NamedTuple):
    """What a sequence at work has yet to compute: `missing_count` tokens, at least one."""

    slot: Slot
    missing_count: int
    client: str


@dataclass(frozen=True, slots=True)
class Share:
    """A sequence's part of a step: `count` rows from `position`; the last `scores_count` ones' scores, if wanted."""

    slot: int
    position: int
    count: int
    wants_scores: bool
    scores_count: int = 1


def common_prefix_count(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for count, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return count
    return min(len(left), len(right))


def reusable_count(cached: Sequence[int], prompt: Sequence[int]) -> int:
    """How many cached tokens a prompt can keep: its last token is always computed, for its scores."""
    return min(common_prefix_count(cached, prompt), len(prompt) - 1)


def plan_step(needs: Sequence[Need], *, answers_turn: bool, chunk_tokens: int) -> list[Share]:
    """The rows of the next step for sequences in the order of their admission.

    Answers and prompts take turns rather than sharing a batch: rows of many sequences among those of a long prompt
    make the attention of both dearer.

    Args:
        needs: those at work, each at most once.
        answers_turn: each sequence with one row missing gets it; else the prompts get `chunk_tokens`.
        chunk_tokens: the most rows of prompts in a step, and so the longest that running answers pause.
    """
    if answers_turn:
        return [
            Share(need.slot.index, len(need.slot.cached), 1, wants_scores=True)
            for need in needs
            if need.missing_count == 1
        ]
    prompts = [need for need in needs if need.missing_count > 1]
    return [
        Share(need.slot.index, len(need.slot.cached), count, wants_scores=count == need.missing_count)
        for need, count in zip(prompts, prompt_rows(prompts, chunk_tokens), strict=True)
        if count
    ]


def prompt_rows(prompts: Sequence[Need], room: int) -> list[int]:
    """How many rows each prompt gets: clients share alike, and within a client the nearest to its end goes first.

    So a short prompt does not wait for a long one that came before it; the oldest prompt keeps a quarter of its
    client's rows, so that short ones cannot hold it up for ever.
    """
    rows = [0] * len(prompts)
    places: dict[str, list[int]] = {}
    for place, need in enumerate(prompts):
        places.setdefault(need.client, []).append(place)
    demands = {client: sum(prompts[place].missing_count for place in own) for client, own in places.items()}
    # The least demanding first: what they leave is shared among the rest (max-min fairness).
    for turn, client in enumerate(sorted(demands, key=demands.__getitem__)):
        left = share = min(demands[client], -(-room // (len(demands) - turn)))
        oldest, *_ = own = places[client]
        rows[oldest] = min(prompts[oldest].missing_count, share // _OLDEST_SHARE)
        left -= rows[oldest]
        for place in sorted(own, key=lambda place: prompts[place].missing_count):
            more = min(prompts[place].missing_count - rows[place], left)
            rows[place] += more
            left -= more
        room -= share
    return rows
