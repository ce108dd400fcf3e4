"""Axes: a range of numbers on a stretch of a drawing, with round numbers to read it by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LOGARITHMIC_SPAN = 20.0
_MARGIN = 0.08
_DECADES_LIMIT = 4
"""Smaller values are as good as nothing, and are drawn at the edge: they must not squeeze what differs."""
_FINE_DECADES_LIMIT = 2


@dataclass(frozen=True, slots=True)
class Scale:
    """A range and where it lies: `start` is drawn for `low`, `end` for `high`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def place(self, value: float) -> float:
        """Where a number is drawn; what is outside the range is drawn at its edge."""
        low, high, inside = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, inside = math.log(low), math.log(high), math.log(inside)
        return self.start + (inside - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers in the range, about so many."""
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            fine = self.high / self.low < 10.0**_FINE_DECADES_LIMIT
            steps = (1, 2, 5) if fine else (1,)
            found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            return [tick for tick in found if self.low <= tick <= self.high]
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * each for each in _STEPS if power * each >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_of(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale with all these numbers in it and a little room; logarithmic where they are of very different sizes."""
    least, most = min(values), max(values)
    if least > 0 and most / least > _LOGARITHMIC_SPAN:
        least = max(least, most / 10.0**_DECADES_LIMIT)
        room = (most / least) ** _MARGIN
        return Scale(least / room, most * room, start, end, logarithmic=True)
    room = (most - least) * _MARGIN or abs(most) * _MARGIN or 1.0
    return Scale(least - room, most + room, start, end, logarithmic=False)
