"""Prompts that begin like something computed before: who remembers it, and how a new sequence gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from edge_node.engines.llama.slots import reusable_count

if TYPE_CHECKING:
    from edge_node.engines import CachedFrom
    from edge_node.engines.llama.prefix_tree import Node
    from edge_node.engines.llama.sequences import Sequences
    from edge_node.engines.llama.slots import Slot


class Found(NamedTuple):
    """The longest known beginning of a prompt.

    Attributes:
        tokens_count: at most all but the prompt's last one.
        source: where it is; empty when there is none.
        slot: the sequence that holds it in memory, remembering or at work.
        restored_count: how many of the tokens must be brought into cells first.
        path: where it is in the tree of prefixes.
    """

    tokens_count: int = 0
    source: CachedFrom = ""
    slot: Slot | None = None
    restored_count: int = 0
    path: tuple[Node, ...] = ()


class PrefixStore(Protocol):
    """Owns every sequence of the context that no generation is at work in."""

    def find(self, prompt: list[int], *, client: str) -> Found:
        """The longest beginning of the prompt that this client may use. Changes nothing."""

    def take(self, found: Found, *, client: str) -> Slot | None:
        """Lend a sequence whose `cached` tokens are what was found, or less; None when all are lent."""

    def give_back(self, slot: Slot) -> None:
        """A generation has left its sequence; what is in there may serve again."""

    def shed(self, cells_count: int) -> None:
        """Forget until so many more cells are free, or nothing is remembered."""

    def remembered_tokens(self) -> int:
        """How many tokens of prompts and answers a later prompt could begin with any part of."""


class RememberedSequences:
    """Remembers the sequences used last, in memory."""

    def __init__(self, sequences: Sequences, *, copies_parts: bool = True) -> None:
        self._sequences = sequences
        self._copies_parts = copies_parts
        self._lent: set[int] = set()

    def find(self, prompt: list[int], *, client: str) -> Found:
        """The sequence that shares most with the prompt; among equals one that remembers, then the newest."""
        best, best_rank = Found(), (0, False, 0)
        for slot in self._sequences.slots:
            if slot.cached and slot.client == client:
                count = reusable_count(slot.cached, prompt)
                rank = (count, slot.index not in self._lent, slot.used_at)
                if count and rank > best_rank:
                    best, best_rank = Found(count, "memory", slot), rank
        return best

    def take(self, found: Found, *, client: str) -> Slot | None:
        """The found sequence itself when the prompt goes on where it ends, else another one that begins like it."""
        source = found.slot
        idle = [slot for slot in self._sequences.slots if slot.index not in self._lent]
        if not idle:
            return None
        # What would be lost of it is remembered only as long as there are sequences to spare.
        others = [slot for slot in idle if slot is not source]
        goes_on = (
            source is not None and source.index not in self._lent and found.tokens_count == len(source.cached)
        )
        if source is not None and source.index not in self._lent and (goes_on or not others):
            self._sequences.cut(source, found.tokens_count)
            target = source
        else:
            target = min(others, key=lambda slot: (bool(slot.cached), slot.used_at))
            self._sequences.cut(target, 0)
            if source is not None:
                self._sequences.copy(source, target, found.tokens_count)
        self._lent.add(target.index)
        target.client = client
        return target

    def give_back(self, slot: Slot) -> None:
        """Remember it."""
        self._lent.discard(slot.index)
        self._sequences.touch(slot)

    def shed(self, cells_count: int) -> None:
        """Forget the sequences unused for longest first."""
        wanted_count = self._sequences.cells.free_count + cells_count
        for slot in sorted(self._sequences.slots, key=lambda slot: slot.used_at):
            if self._sequences.cells.free_count >= wanted_count:
                return
            if slot.index not in self._lent:
                self._sequences.cut(slot, 0)

    def remembered_tokens(self) -> int:
        """None where only whole sequences can be gone on with: no other prompt could use a part of them."""
        if not self._copies_parts:
            return 0
        return sum(len(slot.cached) for slot in self._sequences.slots)
