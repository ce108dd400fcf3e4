"""What guessed tokens cost and have gained, over all sequences: measured times, and a rest for all: pure decisions."""

from __future__ import annotations

_WEIGHT = 0.2
# A step that waited for the processor says nothing about its rows.
_OUTLIER = 2.0
# What was measured longer ago is forgotten.
_KEPT_STEPS = 4096
# Until two sizes of batch have been timed, a further row is taken to cost this part of the first.
_ROW_COST = 0.45
# Enough guesses that luck evens out, few enough that what they may lose is under a second or two.
_WINDOW_TOKENS = 256
# All sequences rest for so many steps, each time for twice as many, up to the most.
_REST_STEPS = 1024
_LONGEST_REST_STEPS = 1 << 15


class StepTimes:
    """How long steps of so many rows take, as measured: a straight line between the sizes that were."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._noted_at: dict[int, int] = {}
        self._notes_count = 0

    def __contains__(self, rows_count: int) -> bool:
        return rows_count in self._seconds

    def note(self, rows_count: int, took_s: float) -> None:
        """A step has taken so long."""
        known_s = self._seconds.setdefault(rows_count, took_s)
        self._seconds[rows_count] = known_s + _WEIGHT * (min(took_s, _OUTLIER * known_s) - known_s)
        self._noted_at[rows_count] = self._notes_count
        self._notes_count += 1
        if self._notes_count % _KEPT_STEPS == 0:
            self._forget_old()

    def cost(self, rows_count: int) -> float:
        """What a step of so many rows takes, in those of one row."""
        if not self._seconds:
            return _assumed_cost(rows_count)
        # One row alone may never have been measured.
        least = min(self._seconds)
        row_s = self._seconds[least] / _assumed_cost(least)
        if rows_count < least:
            return _assumed_cost(rows_count)
        below = max(size for size in self._seconds if size <= rows_count)
        above = min((size for size in self._seconds if size >= rows_count), default=below)
        left, right = (below, above) if below < above else (least, below)
        slope_s = _ROW_COST * row_s
        if left < right:
            slope_s = max(0.0, (self._seconds[right] - self._seconds[left]) / (right - left))
        return (self._seconds[below] + slope_s * (rows_count - below)) / row_s

    def _forget_old(self) -> None:
        """A size that looked too dear is not tried, so not timed again; it may have been other work."""
        for size, noted_at in list(self._noted_at.items()):
            if noted_at < self._notes_count - _KEPT_STEPS:
                del self._seconds[size], self._noted_at[size]


def _assumed_cost(rows_count: int) -> float:
    return 1 + _ROW_COST * (rows_count - 1)


class Worth:
    """Whether guessing pays at all here, by the last few hundred guesses of all sequences.

    A sequence stops by itself where its own guesses fail; but each begins with some, and many short answers of which
    none repeats itself lose that much each.
    """

    def __init__(self) -> None:
        self._rest_steps = _REST_STEPS
        self._resting_steps = 0
        self._begin()

    @property
    def resting(self) -> bool:
        """Nobody is to guess now."""
        return self._resting_steps > 0

    def stepped(self, *, answers_count: int, rows_count: int, times: StepTimes) -> None:
        """A step was computed for so many sequences, in more rows than those if some were guessed."""
        self._resting_steps = max(0, self._resting_steps - 1)
        if rows_count > answers_count:
            self._tokens_count += answers_count
            self._plain_count += answers_count * times.cost(rows_count) / times.cost(answers_count)

    def guessed(self, guessed_count: int, accepted_count: int) -> None:
        """So many tokens were guessed for one of them, and so many came true; the last of a window decides."""
        self._guessed_count += guessed_count
        self._tokens_count += accepted_count
        if self._guessed_count < _WINDOW_TOKENS:
            return
        if self._tokens_count < self._plain_count:
            self._resting_steps = self._rest_steps
            self._rest_steps = min(2 * self._rest_steps, _LONGEST_REST_STEPS)
        else:
            self._rest_steps = _REST_STEPS
        self._begin()

    def _begin(self) -> None:
        self._guessed_count = 0
        self._tokens_count = 0
        # What the same time would have given without guesses.
        self._plain_count = 0.0
