"""The Pareto front: the points than which no other is better in one way and as good in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]], *, less_x: bool, less_y: bool) -> list[int]:
    """The numbers of the points on the front, by x.

    Args:
        points: x and y of each.
        less_x: less is better on x.
        less_y: less is better on y.
    """
    costs = [(x if less_x else -x, y if less_y else -y) for x, y in points]
    kept = [
        index
        for index, (x, y) in enumerate(costs)
        if not any(
            other_x <= x and other_y <= y and (other_x, other_y) != (x, y) for other_x, other_y in costs
        )
    ]
    return sorted(kept, key=lambda index: points[index])
