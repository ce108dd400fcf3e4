"""What guessed tokens cost and have gained, over all sequences: measured times, and a rest for all: pure decisions."""

from __future__ import annotations

_WEIGHT = 0.2
# A step that waited for the processor says nothing about its rows.
_OUTLIER = 2.0
# Until a size of batch has been timed, a further row is taken to cost this part of the first.
_ROW_COST = 0.45
# Enough guesses that luck evens out, few enough that what they may lose is under a second or two.
_WINDOW_TOKENS = 256
# All sequences rest for so many steps, each time for twice as many, up to the most.
_REST_STEPS = 1024
_LONGEST_REST_STEPS = 1 << 15


class StepTimes:
    """How long steps of so many rows take, as measured."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def __contains__(self, rows_count: int) -> bool:
        return rows_count in self._seconds

    def note(self, rows_count: int, took_s: float) -> None:
        """A step has taken so long."""
        known_s = self._seconds.setdefault(rows_count, took_s)
        self._seconds[rows_count] = known_s + _WEIGHT * (min(took_s, _OUTLIER * known_s) - known_s)

    def cost(self, rows_count: int) -> float:
        """What a step of so many rows takes, in those of one row."""
        guess = 1 + _ROW_COST * (rows_count - 1)
        measured = self._seconds.get(rows_count)
        if measured is None:
            return guess
        # Scaled from the nearest smaller size that was measured: one row alone may never have been.
        nearest = min(self._seconds)
        return measured / self._seconds[nearest] * (1 + _ROW_COST * (nearest - 1))


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
