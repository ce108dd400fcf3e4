"""Choosing one option for each group so that the sum of costs is least and the sum of sizes fits: exact, in steps.

The multiple-choice knapsack problem by dynamic programming over the budget (Kellerer, Pferschy, Pisinger, "Knapsack
Problems", 2004, chapter 11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEPS_COUNT = 4096


def choose(options: Sequence[Sequence[tuple[int, float]]], budget_bytes: int) -> list[int] | None:
    """The place of the chosen option of each group; None when even the smallest do not fit.

    `options` are, by group, (size in bytes, cost). Sizes above each group's smallest are rounded up to 1/4096 of what
    is left of the budget then, so the choice always fits and may miss the best by that much room.
    """
    least = sum(min(size for size, _ in group) for group in options)
    room = budget_bytes - least
    if room < 0:
        return None
    step = max(1, room // _STEPS_COUNT)
    width = room // step + 1
    costs = np.zeros(width)
    taken = []
    for group in options:
        smallest = min(size for size, _ in group)
        best = np.full(width, np.inf)
        place = np.zeros(width, np.int64)
        for index, (size, cost) in enumerate(group):
            weight = -(-(size - smallest) // step)
            if weight >= width:
                continue
            offered = np.full(width, np.inf)
            offered[weight:] = costs[: width - weight] + cost
            better = offered < best
            best[better], place[better] = offered[better], index
        taken.append(place)
        costs = best
    chosen, left = [], width - 1
    for group, place in zip(reversed(options), reversed(taken), strict=True):
        index = int(place[left])
        chosen.append(index)
        left -= -(-(group[index][0] - min(size for size, _ in group)) // step)
    return chosen[::-1]
