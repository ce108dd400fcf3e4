"""Cells of answers that run together, laid side by side again: native memory fills them by turns, a row of each answer.

To read one sequence the kernels then step over the cells of all others, which defeats caches and prefetching; measured
in `tests/bench/bench_gathering.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_node.engines.llama.sequences import Sequences
    from edge_node.engines.llama.slots import Slot

# Between two times; the cells of the last steps lie scattered meanwhile.
EVERY_STEPS_COUNT = 32
# Fewer answers lie close enough.
LEAST_ANSWERS_COUNT = 4
# Of the time of the steps. Values that are kept transposed, or that are on another device, are slow to move.
_LIMIT_COST = 0.02
# Moves that are judged together: one alone may have waited for a processor that others kept busy.
JUDGED_COUNT = 4


class Gathering:
    """When the cells of the answers at work are moved together; for good not, where it costs too much or fails.

    Args:
        scratch: a sequence that stays empty, to move cells through; None gathers nothing.
        clock: seconds.
    """

    def __init__(self, sequences: Sequences, *, scratch: Slot | None, clock: Callable[[], float]) -> None:
        self._sequences = sequences
        self._scratch = scratch
        self._clock = clock
        self._steps_count = 0
        self._moves_count = 0
        self._steps_s = 0.0
        self._moving_s = 0.0

    def stepped(self, slots: Sequence[Slot], *, took_s: float) -> None:
        """A step of one row for each of these sequences is done and took this long; now their cells may move."""
        if self._scratch is None or len(slots) < LEAST_ANSWERS_COUNT:
            return
        self._steps_count += 1
        self._steps_s += took_s
        if self._steps_count == EVERY_STEPS_COUNT:
            self._steps_count = 0
            self._move(slots, self._scratch)

    def _move(self, slots: Sequence[Slot], scratch: Slot) -> None:
        began_s = self._clock()
        whole = self._sequences.gather(slots, EVERY_STEPS_COUNT, scratch=scratch)
        self._moving_s += self._clock() - began_s
        self._moves_count += 1
        judged = self._moves_count == JUDGED_COUNT
        if not whole or (judged and self._moving_s > _LIMIT_COST * self._steps_s):
            self._scratch = None
        if judged:
            self._moves_count, self._steps_s, self._moving_s = 0, 0.0, 0.0
