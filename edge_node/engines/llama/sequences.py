"""The sequences of a context: what each holds, kept alike in native memory and in our books."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edge_node.engines.llama.cells import Cells
from edge_node.engines.llama.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines.llama.prefix_file import State


class Memory(Protocol):
    """Native memory (`memory.KvMemory`)."""

    def forget(self, sequence: int, position: int) -> bool:
        """Drop a sequence's cells from `position` on; False when it cannot be cut there."""

    def copy(self, source: int, target: int, count: int) -> None:
        """Let an empty sequence share the cells of the first tokens of another."""

    def copy_part(self, source: int, target: int, start: int, end: int) -> None:
        """Let a sequence share the cells that another has at these positions, where it has none."""

    def forget_part(self, sequence: int, start: int, end: int) -> None:
        """Drop a sequence's cells at these positions."""

    def span(self, sequence: int) -> tuple[int, int]:
        """The first position that a sequence has, and the one after its last."""

    def save(self, sequence: int) -> State:
        """A sequence's whole state."""

    def restore(self, sequence: int, state: State) -> bool:
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

    def save(self, slot: Slot) -> State:
        """The state of all its tokens, 10 to 100 KB each."""
        return self._memory.save(slot.index)

    def restore(self, slot: Slot, tokens: Sequence[int], state: State) -> bool:
        """Put the saved state of these tokens into an empty sequence; False when it does not fit."""
        assert not slot.cached, "only an empty sequence takes a saved state"
        if len(tokens) > self.cells.free_count or not self._memory.restore(slot.index, state):
            return False
        self.extend(slot, tokens)
        return True

    # ---- stretches: what lies between two positions, by way of `scratch`, a sequence that is kept empty for it

    def share_head(self, slot: Slot, source: Slot, count: int) -> None:
        """Give a sequence another's cells for its first tokens, which are the same, and free its own."""
        if slot.cells[:count] == source.cells[:count]:
            return
        self._memory.forget_part(slot.index, 0, count)
        self._memory.copy_part(source.index, slot.index, 0, count)
        self.cells.share(source.cells[:count])
        self.cells.drop(slot.cells[:count])
        slot.cells[:count] = source.cells[:count]

    def save_stretch(self, slot: Slot, start: int, end: int, *, scratch: Slot) -> State:
        """The state of the tokens from `start` to `end`."""
        self._memory.copy_part(slot.index, scratch.index, start, end)
        state = self._memory.save(scratch.index)
        self._memory.forget(scratch.index, 0)
        return state

    def append_stretch(
        self, slot: Slot, tokens: Sequence[int], state: State, *, span: tuple[int, int], scratch: Slot
    ) -> bool:
        """Let a sequence go on with `tokens`, out of the saved state of the positions `span`; False if it does not fit.

        There must be free cells for the whole state.
        """
        start, end = len(slot.cached), len(slot.cached) + len(tokens)
        assert span[0] <= start < end <= span[1], "the state has these positions"
        assert span[1] - span[0] <= self.cells.free_count, "room was made"
        if not self._memory.restore(scratch.index, state):
            return False
        fits = self._memory.span(scratch.index) == span
        if fits:
            self._memory.copy_part(scratch.index, slot.index, start, end)
            self.extend(slot, tokens)
        self._memory.forget(scratch.index, 0)
        return fits

    def gather(self, slots: Sequence[Slot], count: int, *, scratch: Slot) -> bool:
        """Lay the last `count` tokens of each sequence in cells side by side, where nobody shares them.

        False when some could not be put back, and their sequences are shorter now.
        """
        moved: list[tuple[Slot, int, list[int], State]] = []
        for slot in slots:
            start = max(0, len(slot.cached) - count)
            if slot.cells and not self.cells.are_shared(slot.cells[start:]):
                state = self.save_stretch(slot, start, len(slot.cached), scratch=scratch)
                moved.append((slot, start, slot.cached[start:], state))
        for slot, start, _, _ in moved:
            self.cut(slot, start)
        lost_count = sum(
            not self.append_stretch(slot, tokens, state, span=(start, start + len(tokens)), scratch=scratch)
            for slot, start, tokens, state in moved
        )
        return not lost_count
