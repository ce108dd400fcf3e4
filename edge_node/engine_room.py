"""How the memory of a llama engine is allotted: rules by which it makes its contexts, and a node expects them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DEFAULT_SLOTS_COUNT = 16
LANE_ROWS_LIMIT = 4
"""Deterministic answers in one batch at most; each has a whole context of its own."""
SAVED_LIMIT_BYTES = 256 << 20
"""What the states of answers that were put off may take."""
KV_SHARES = {"f16": 1.0, "q8_0": 17 / 32}
"""Bytes of a cell over those in f16: q8_0 has 34 bytes for 32 numbers."""
_CELLS_LIMIT_BYTES = 256 << 20
_CELLS_MEMORY_PART = 16
_LEAST_CONTEXTS_COUNT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRoom:
    """How a node runs llama engines, as far as their memory depends on it.

    Attributes:
        slots_count: answers made at once; 0 is `DEFAULT_SLOTS_COUNT`.
        cells_limit_bytes: for cells beyond two contexts, and for the lane beyond one.
        prefix_memory_bytes: for prefixes that left their cells.
        lane_rows_count: deterministic answers that may share a batch; 0 counts no lane.
    """

    slots_count: int = 0
    kv_type: Literal["f16", "q8_0"] = "f16"
    cells_limit_bytes: int = _CELLS_LIMIT_BYTES
    prefix_memory_bytes: int = 0
    lane_rows_count: int = 0

    def expected_bytes(self, context_tokens: int, *, token_bytes: int) -> int:
        """What all of it takes at most, beside the model and the runtime.

        Args:
            context_tokens: of one context.
            token_bytes: what a cell takes in f16.
        """
        cell_bytes = max(1.0, token_bytes * KV_SHARES[self.kv_type])
        slots_count = self.slots_count or DEFAULT_SLOTS_COUNT
        cells = cells_count(
            context_tokens,
            slots_count=slots_count,
            token_bytes=cell_bytes,
            limit_bytes=self.cells_limit_bytes,
        )
        lane_cells = context_tokens * lane_rows_count(
            self.lane_rows_count, context_tokens, token_bytes=cell_bytes, limit_bytes=self.cells_limit_bytes
        )
        # Answers are put off, and their states saved, only where the cells are too few for all of them.
        saved_bytes = min(SAVED_LIMIT_BYTES, int((slots_count * context_tokens - cells) * cell_bytes))
        return int((cells + lane_cells) * cell_bytes) + saved_bytes + self.prefix_memory_bytes


def cells_limit_bytes(memory_bytes: int) -> int:
    """What the cells of one model may take beyond two contexts, on a machine with so much memory; 0 is unknown."""
    return min(_CELLS_LIMIT_BYTES, memory_bytes // _CELLS_MEMORY_PART) if memory_bytes else _CELLS_LIMIT_BYTES


def cells_count(context_tokens: int, *, slots_count: int, token_bytes: float, limit_bytes: int) -> int:
    """How many cells all slots share: a whole context each where that is cheap, two contexts at least.

    Short requests fill all slots; long ones wait, or are put off.
    """
    affordable_count = int(limit_bytes / token_bytes)
    least_count = context_tokens * min(_LEAST_CONTEXTS_COUNT, slots_count)
    return max(least_count, min(context_tokens * slots_count, affordable_count))


def lane_rows_count(
    certified_count: int, context_tokens: int, *, token_bytes: float, limit_bytes: int
) -> int:
    """How many deterministic answers share a batch: those that were certified to, as far as that is cheap."""
    affordable_count = int(limit_bytes / (token_bytes * max(1, context_tokens)))
    return min(certified_count, max(1, affordable_count))
