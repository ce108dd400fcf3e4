"""NodeIndex: nodes by number, so that what is known of many can stand in arrays.

A number is of a node at one place: one that has moved is another, of which nothing is known from before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from origin.geo.sphere import on_sphere

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from origin.api import Place

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

NodeAt = tuple[str, "Place | None"]
"""A node's id and its place."""


class NodeIndex:
    """Every node that was ever asked about gets the next number, until `begin_anew` takes all of them back.

    Attributes:
        generation: numbers hold while it stays the same.
        ids: the nodes' ids by number.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.ids: list[str] = []
        self._numbers: dict[NodeAt, int] = {}
        self._points = np.full((64, 3), np.nan)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def points(self) -> Floats:
        """Where the nodes are on the unit sphere, a row each; NaN for those that do not say."""
        return self._points[: len(self.ids)]

    def number(self, node: NodeAt) -> int:
        """The number of a node at its place."""
        number = self._numbers.get(node)
        if number is None:
            number = self._numbers[node] = len(self.ids)
            if number == len(self._points):
                self._points = np.concatenate([self._points, np.full(self._points.shape, np.nan)])
            if node[1] is not None:
                self._points[number] = on_sphere(node[1])
            self.ids.append(node[0])
        return number

    def numbers(self, nodes: Iterable[NodeAt]) -> Numbers:
        """The numbers of several."""
        return np.array([self.number(node) for node in nodes], dtype=np.int64)

    def begin_anew(self) -> None:
        """Forget all nodes and their numbers."""
        self.generation += 1
        self.ids.clear()
        self._numbers.clear()
        self._points = np.full((64, 3), np.nan)
