"""The sequences of a context: what each holds, kept alike in native memory and in our books."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge_node.engines.llama.cells import Cells
from edge_node.engines.llama.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Sequence


class Memory(Protocol):
    """Native memory (`memory.KvMemory`)."""

    def forget(self, sequence: int, position: int) -> bool:
        """Drop a sequence's cells from `position` on; False when it cannot be cut there."""

    def copy(self, source: int, target: int, count: int) -> None:
        """Let an empty sequence share the cells of the first tokens of another."""

    def save(self, sequence: int) -> bytes:
        """A sequence's whole state."""

    def restore(self, sequence: int, state: bytes) -> bool:
        """Put a saved state into an empty sequence."""


class Sequences:
    """All sequences of one context.

    Args:
        copies_parts: a sequence can share any first part of another's cells; else only the whole.

    Attributes:
        slots: by their index, which is the native sequence's id.
        cells: the books of the cells.
    """

    def __init__(self, memory: Memory, *, count: int, cells_count: int, copies_parts: bool) -> None:
        self.slots = [Slot(index) for index in range(count)]
        self.cells = Cells(cells_count)
        self._memory = memory
        self._copies_parts = copies_parts
        self._uses_count = 0

    def touch(self, slot: Slot) -> None:
        """This one was used now."""
        self._uses_count += 1
        slot.used_at = self._uses_count

    def extend(self, slot: Slot, tokens: Sequence[int]) -> None:
        """Note what a decode has computed."""
        slot.cells.extend(self.cells.take(len(tokens)))
        slot.cached.extend(tokens)

    def cut(self, slot: Slot, keep_count: int) -> None:
        """Keep the first tokens; a memory that cannot be cut (recurrent models) is emptied."""
        if keep_count >= len(slot.cached):
            return
        if not self._memory.forget(slot.index, keep_count):
            self._memory.forget(slot.index, 0)
            keep_count = 0
        self.cells.drop(slot.cells[keep_count:])
        del slot.cached[keep_count:], slot.cells[keep_count:]

    def copy(self, source: Slot, target: Slot, count: int) -> bool:
        """Let an empty sequence begin like another, in the same cells; False when this memory cannot."""
        assert not target.cached, "only an empty sequence takes another's beginning"
        if not self._copies_parts and count != len(source.cached):
            return False
        self._memory.copy(source.index, target.index, count)
        target.cached, target.cells = source.cached[:count], source.cells[:count]
        self.cells.share(target.cells)
        return True

    def save(self, slot: Slot) -> bytes:
        """The state of all its tokens, 10 to 100 KB each."""
        return self._memory.save(slot.index)

    def restore(self, slot: Slot, tokens: Sequence[int], state: bytes) -> bool:
        """Put the saved state of these tokens into an empty sequence; False when it does not fit."""
        assert not slot.cached, "only an empty sequence takes a saved state"
        if len(tokens) > self.cells.free_count or not self._memory.restore(slot.index, state):
            return False
        self.extend(slot, tokens)
        return True
