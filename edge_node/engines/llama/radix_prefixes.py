"""The prefixes of one context: in cells while there is room, then in memory, on the disk, or out of the release.

What a generation computed stays as a sequence whose cells later prompts share. When cells run short, the coldest
stretch goes to memory; a stretch at which prompts fork (a system prompt) is also written to the disk, where it
outlives the process. Whatever cannot be brought back exactly as it was is forgotten, and computed again.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

from edge_node.engines.llama.prefix_disk import read_file
from edge_node.engines.llama.prefix_file import PrefixFileInvalidError
from edge_node.engines.llama.prefix_tree import Copy, PrefixTree, Tier, common_prefix_count
from edge_node.engines.llama.prefixes import Found

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from edge_node.engines import CachedFrom
    from edge_node.engines.llama.prefix_disk import PrefixDisk, Stored
    from edge_node.engines.llama.prefix_file import State
    from edge_node.engines.llama.prefix_tree import Node
    from edge_node.engines.llama.sequences import Sequences
    from edge_node.engines.llama.slots import Slot

# Shorter stretches are computed again about as fast as they are brought back: from the disk, and from memory.
LEAST_KEPT_TOKENS = 64
LEAST_IN_MEMORY_TOKENS = 8
# A stretch found so often is written to the disk even where prompts do not fork.
_OFTEN_COUNT = 3
_SOURCES: dict[Tier, CachedFrom] = {
    Tier.CELLS: "memory",
    Tier.MEMORY: "memory",
    Tier.DISK: "disk",
    Tier.RELEASE: "release",
}


def scope_of(client: str) -> str:
    """How a client is named in the tree and on the disk; requests without a client are one client together."""
    return hashlib.sha256(b"client\0" + client.encode()).hexdigest()[:32]


class RadixPrefixes:
    """`prefixes.PrefixStore` over a radix tree; for memories that can be cut and copied in parts.

    Args:
        memory_limit_bytes: what stretches that left the cells may take in memory.
        disk: where stretches outlive the process, with what is there already; None keeps none.
        published: files of the release with prefixes for everyone.

    Attributes:
        scratch: the last sequence, empty between two calls, to move cells through.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        memory_limit_bytes: int,
        disk: PrefixDisk | None = None,
        disk_limit_bytes: int = 0,
        published: Iterable[Stored] = (),
    ) -> None:
        self._sequences = sequences
        *self._slots, self.scratch = sequences.slots
        self._tree = PrefixTree()
        self._limits = {Tier.MEMORY: memory_limit_bytes, Tier.DISK: disk_limit_bytes}
        self._disk = disk
        self._lent: dict[int, Node | None] = {}  # the pinned end of what was found for it
        self._worth_writing: Node | None = None
        self._writing: tuple[str | None, int, list[int], Future[Stored | None]] | None = None
        for stored in published:
            self._note_file(stored, Tier.RELEASE)
        if disk is not None:
            files = [stored for stored in disk.stored() if self._note_file(stored, Tier.DISK)]
            for stored in sorted(files, key=lambda stored: stored.used_at_ns):
                found = self._tree.find(stored.head.scope, stored.head.token_ids())
                self._tree.touch(found.nodes[-1])
            self._make_space(Tier.DISK, 0)

    def find(self, prompt: list[int], *, client: str) -> Found:
        """The longest beginning of the prompt that this client may use: its own, or everyone's."""
        beginning = prompt[:-1]  # the last token is always computed, for its scores
        found = self._tree.find(scope_of(client), beginning)
        in_cells_count = found.in_cells_count
        best = Found()
        if found.count:
            last = found.nodes[-1]
            inner = next((node for node in reversed(found.nodes) if node.in_cells), None)
            best = Found(
                found.count,
                "memory" if in_cells_count == found.count else _SOURCES[_nearest(last)],
                self._slots[self._holder(inner)] if inner else None,
                found.count - in_cells_count,
                found.nodes,
            )
        for index in self._lent:
            slot = self._slots[index]
            if slot.client == client and len(slot.cached) > in_cells_count:
                count = common_prefix_count(slot.cached, beginning)
                if count > in_cells_count and count >= best.tokens_count:
                    best = Found(count, "memory", slot)
        return best

    def take(self, found: Found, *, client: str) -> Slot | None:
        """Lend a sequence that begins with what was found, or with as much of it as could be brought back."""
        self._collect()
        pinned = self._pin(found)
        slot = self._empty_slot()
        if slot is None:
            self._unpin(pinned)
            return None
        self._lent[slot.index] = pinned
        slot.client = client
        if pinned is not None:
            inner = next((node for node in reversed(pinned.path()) if node.in_cells), None)
            if inner is not None:
                self._sequences.copy(self._slots[self._holder(inner)], slot, inner.end)
            self._bring_back(slot, pinned)
            self._tree.touch(pinned)
        elif found.slot is not None:
            self._sequences.copy(found.slot, slot, found.tokens_count)
        return slot

    def give_back(self, slot: Slot) -> None:
        """Remember what a generation computed."""
        self._unpin(self._lent.pop(slot.index))
        self._sequences.touch(slot)
        if slot.cached:
            self._remember(slot)
        self._collect()
        self._write()

    def shed(self, cells_count: int) -> None:
        """Forget in cells, the coldest first, until so many more are free or all that is left is in use."""
        wanted_count = self._sequences.cells.free_count + cells_count
        while self._sequences.cells.free_count < wanted_count:
            node = self._tree.coldest(Tier.CELLS)
            if node is None:
                return
            self._evict(node)

    def remembered_tokens(self) -> int:
        """How many tokens are in the tree, whoever's they are and wherever their keys and values lie."""
        return sum(len(node.edge) for node in self._tree.nodes() if node.kept)

    def close(self) -> None:
        """Wait until what is being written is written."""
        if self._disk is not None:
            self._disk.close()

    # ---- cells

    def _pin(self, found: Found) -> Node | None:
        """Hold on to the last node of a way, cut where the prompt leaves it."""
        if not found.path:
            return None
        node = found.path[-1]
        forks = bool(node.children) or found.tokens_count < node.end
        if found.tokens_count < node.end:
            node = self._tree.split(node, found.tokens_count - node.start)
        for step in node.path():
            step.hits_count += 1
        if forks or node.hits_count >= _OFTEN_COUNT:
            self._worth_writing = node
        self._tree.pin(node)
        return node

    def _unpin(self, node: Node | None) -> None:
        if node is not None:
            self._tree.unpin(node)

    def _holder(self, node: Node) -> int:
        """The sequence that holds the cells of a node."""
        while node.sequence is None:
            node = next(child for child in node.children.values() if child.in_cells)
        return node.sequence

    def _empty_slot(self) -> Slot | None:
        """A sequence with nothing in it; something cold is forgotten for it if need be."""
        while True:
            for slot in self._slots:
                if slot.index not in self._lent and not slot.cached:
                    return slot
            node = self._tree.coldest(Tier.CELLS)
            if node is None:
                return None
            self._evict(node)

    def _remember(self, slot: Slot) -> None:
        """Let the tree have a sequence; what it holds of it already, it does not hold twice."""
        node = self._tree.place(scope_of(slot.client), slot.cached)
        held = next((step for step in reversed(node.path()) if step.in_cells), None)
        if held is not None:
            self._sequences.share_head(slot, self._slots[self._holder(held)], held.end)
        if held is node:
            self._tree.touch(node)
            self._sequences.cut(slot, 0)
        else:
            self._keep(slot, node, held)

    def _keep(self, slot: Slot, node: Node, held: Node | None) -> None:
        self._tree.keep_cells(node)
        node.sequence = slot.index
        if held is not None and held.sequence is not None:  # the longer sequence holds its cells too
            self._sequences.cut(self._slots[held.sequence], 0)
            held.sequence = None

    def _evict(self, node: Node) -> None:
        assert node.sequence is not None, "an end in cells has its sequence"
        self._spill(node)
        slot, parent = self._slots[node.sequence], node.parent
        self._discard(self._tree.release(Tier.CELLS, node))
        assert parent is not None, "the root is never kept"
        if parent.ends(Tier.CELLS):
            parent.sequence = slot.index
            self._sequences.cut(slot, parent.end)
        else:
            self._sequences.cut(slot, 0)

    # ---- copies

    def _spill(self, node: Node) -> None:
        """Copy a stretch that leaves the cells to memory, if it is worth it: a file is slower to come back from."""
        if (
            Tier.MEMORY in node.copies
            or len(node.edge) < LEAST_IN_MEMORY_TOKENS
            or not self._limits[Tier.MEMORY]
        ):
            return
        state = self._state(node, node.start)
        if self._make_space(Tier.MEMORY, len(state)):
            self._tree.keep_copy(Tier.MEMORY, node, Copy(node.start, node.end, len(state), state))

    def _state(self, node: Node, start: int) -> State:
        slot = self._slots[self._holder(node)]
        return self._sequences.save_stretch(slot, start, node.end, scratch=self.scratch)

    def _bring_back(self, slot: Slot, node: Node) -> None:
        """Continue a sequence out of copies to the end of `node`, as far as they are good."""
        tokens, brought = node.tokens(), None
        for step in node.path():
            if step.end <= len(slot.cached):
                continue
            if not step.copies:
                break
            tier = _nearest(step)
            copy = step.copies[tier]
            # Where the way forks off, the rest of a copy is of other tokens.
            good_end = max(each.end for each in node.path() if each.copies.get(tier) is copy)
            if not self._append(slot, tier, copy, tokens[len(slot.cached) : good_end]):
                break
            brought = step
        if brought is not None:
            self._share_brought(slot, node)

    def _append(self, slot: Slot, tier: Tier, copy: Copy, tokens: list[int]) -> bool:
        """Let a sequence go on with `tokens` out of a copy; one that is no good is forgotten."""
        room_count = copy.end - copy.start
        self.shed(room_count - self._sequences.cells.free_count)
        if self._sequences.cells.free_count < room_count:
            return False
        state = self._payload(tier, copy)
        span = (copy.start, copy.end)
        if state is not None and self._sequences.append_stretch(
            slot, tokens, state, span=span, scratch=self.scratch
        ):
            return True
        users = [node for node in self._tree.nodes() if node.copies.get(tier) is copy]
        self._discard(self._tree.drop(tier, min(users, key=lambda node: node.start)))
        return False

    def _share_brought(self, slot: Slot, node: Node) -> None:
        """Let the tree hold the cells too that were filled for one generation, so that the next needs no copy."""
        whole = next(step for step in reversed(node.path()) if step.end <= len(slot.cached))
        holder = self._empty_slot()
        if holder is not None:
            held = next((step for step in reversed(whole.path()) if step.in_cells), None)
            self._sequences.copy(slot, holder, whole.end)
            self._keep(holder, whole, held)

    def _payload(self, tier: Tier, copy: Copy) -> State | None:
        if tier is Tier.MEMORY:
            state: State = copy.value
            return state
        if tier is Tier.DISK and self._disk is not None:
            return self._disk.read(copy.value)
        try:
            return read_file(copy.value)
        except (PrefixFileInvalidError, OSError) as error:
            sys.stderr.write(f"the published prefix {copy.value.name} is computed here instead: {error}\n")
            return None

    def _make_space(self, tier: Tier, size_bytes: int) -> bool:
        """Forget what is coldest in a tier until there is room for so much more; False when there never is."""
        if size_bytes > self._limits[tier]:
            return False
        while self._tree.used[tier] + size_bytes > self._limits[tier]:
            node = self._tree.coldest(tier)
            if node is None:  # all of it is in use now
                return False
            self._discard(self._tree.release(tier, node))
        return True

    def _discard(self, freed: list[tuple[Tier, Copy]]) -> None:
        for tier, copy in freed:
            if tier is Tier.DISK and self._disk is not None:
                self._disk.remove(copy.value)

    # ---- the disk

    def _write(self) -> None:
        """Begin to write the stretch that was last found worth it, one at a time."""
        node, self._worth_writing = self._worth_writing, None
        if self._disk is None or node is None or self._writing is not None or not node.in_cells:
            return
        path = node.path()
        first = next((step for step in path if not {Tier.DISK, Tier.RELEASE} & step.copies.keys()), None)
        if first is None or node.end - first.start < LEAST_KEPT_TOKENS:
            return
        state = self._state(node, first.start)
        if self._make_space(Tier.DISK, len(state)):
            tokens = node.tokens()
            writing = self._disk.write(node.scope, first.start, tokens, state)
            self._writing = (node.scope, first.start, tokens, writing)

    def _collect(self) -> None:
        """Note what has been written meanwhile."""
        if self._writing is None or not self._writing[-1].done():
            return
        scope, start, tokens, writing = self._writing
        self._writing = None
        stored = writing.result()
        if stored is None or self._disk is None:
            return
        fits = self._make_space(Tier.DISK, stored.size_bytes)
        if fits and self._tree.find(scope, tokens).count == len(tokens):
            node = self._tree.place(scope, tokens)
            self._tree.keep_copy(Tier.DISK, node, Copy(start, len(tokens), stored.size_bytes, stored.path))
        else:
            self._disk.remove(stored.path)

    def _note_file(self, stored: Stored, tier: Tier) -> bool:
        """Put a file into the tree; False when what comes before it is not there, so that it is of no use."""
        head, tokens = stored.head, stored.head.token_ids()
        if head.start and self._tree.find(head.scope, tokens[: head.start]).count < head.start:
            if tier is Tier.DISK and self._disk is not None:
                self._disk.refuse(stored.path, "the prefix before it is gone")
            return False
        if head.start:
            self._tree.place(head.scope, tokens[: head.start])
        node = self._tree.place(head.scope, tokens)
        self._tree.keep_copy(tier, node, Copy(head.start, len(tokens), stored.size_bytes, stored.path))
        self._tree.forget_new(node)
        return node.kept


def _nearest(node: Node) -> Tier:
    """Where a node that is not in cells is brought back from."""
    return next(tier for tier in (Tier.MEMORY, Tier.RELEASE, Tier.DISK) if tier in node.copies)
