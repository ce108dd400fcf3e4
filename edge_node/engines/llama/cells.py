"""Which cells of the KV cache are free: sequences that begin alike share the cells of their beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Cells:
    """The books of a unified cache: a cell is used for as long as any sequence holds it.

    The numbers are ours, not llama.cpp's: only how many are free is the same there.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._holders_count = [0] * count
        self._free = list(range(count - 1, -1, -1))

    @property
    def free_count(self) -> int:
        """Cells that no sequence holds."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Free cells for a sequence's new tokens, one for each."""
        assert count <= len(self._free), "the plan keeps to the free cells"
        taken = [self._free.pop() for _ in range(count)]
        for cell in taken:
            self._holders_count[cell] = 1
        return taken

    def share(self, cells: Sequence[int]) -> None:
        """One more sequence holds these."""
        for cell in cells:
            self._holders_count[cell] += 1

    def are_shared(self, cells: Sequence[int]) -> bool:
        """More than one sequence holds some of these."""
        return any(self._holders_count[cell] > 1 for cell in cells)

    def drop(self, cells: Sequence[int]) -> None:
        """One sequence less holds these."""
        holders_count, free = self._holders_count, self._free
        for cell in cells:
            holders_count[cell] -= 1
            if not holders_count[cell]:
                free.append(cell)
