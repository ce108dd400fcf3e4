"""The radix tree of prefixes: which token sequences have keys and values kept, where, for whom, and what goes first.

A node is a stretch of tokens; the way to it from the root is a prefix. A node may be kept in several tiers at once:
in the context's cells (counted in tokens), and as copies, counted in bytes, elsewhere. Radix trees
over token sequences after SGLang (Zheng et al., 2023); eviction by GreedyDual-Size (Cao and Irani, 1997), which is
least recent use weighted by what it costs to compute again.

Scopes keep clients apart. A prefix of the scope None is for everyone; all others are seen by their own scope alone.
A client's nodes hang below shared ones, so that what is shared is kept once; never the other way round.

Nodes are not merged again when a fork goes away: what two prompts shared once, a third is likely to share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Scope = str | None

# At this position attention has made a token about twice as dear as the first one.
_DOUBLING_TOKENS = 4096


class Tier(Enum):
    """Where keys and values are kept, the quickest first."""

    CELLS = "cells"
    MEMORY = "memory"
    DISK = "disk"
    RELEASE = "release"


@dataclass(eq=False, slots=True)
class Copy:
    """Keys and values of the positions `start` to `end` of a path outside the cells; several nodes may use one."""

    start: int
    end: int
    size_bytes: int
    value: Any
    users_count: int = 0


@dataclass(eq=False, slots=True)
class Node:
    """A stretch of tokens that begins at position `start`.

    Attributes:
        pins_count: how many use it, or a node below it, now: it leaves no tier meanwhile.
        in_cells: its keys and values are in cells, and so are those of all nodes above it.
        sequence: of a node in cells with none such below: the sequence id that holds the whole path.
        used_at: counts up.
        hits_count: how often a prompt found all of it here.
    """

    scope: Scope
    edge: list[int]
    start: int
    parent: Node | None
    children: dict[tuple[Scope, int], Node] = field(default_factory=dict)
    pins_count: int = 0
    in_cells: bool = False
    sequence: int | None = None
    copies: dict[Tier, Copy] = field(default_factory=dict)
    ranks: dict[Tier, float] = field(default_factory=dict)
    used_at: int = 0
    hits_count: int = 0

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.start + len(self.edge)

    @property
    def kept(self) -> bool:
        """It is in some tier."""
        return self.in_cells or bool(self.copies)

    def is_in(self, tier: Tier) -> bool:
        """It is kept in this tier."""
        return self.in_cells if tier is Tier.CELLS else tier in self.copies

    def ends(self, tier: Tier) -> bool:
        """It is kept in this tier and nothing below it is."""
        return self.is_in(tier) and not any(child.is_in(tier) for child in self.children.values())

    def path(self) -> list[Node]:
        """The nodes from the root's child to this one."""
        nodes: list[Node] = []
        node = self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def tokens(self) -> list[int]:
        """The whole prefix."""
        return [token for node in self.path() for token in node.edge]

    def recompute_cost(self) -> float:
        """What one of its tokens costs to compute, in first tokens."""
        return 1 + (self.start + self.end) / 2 / _DOUBLING_TOKENS


@dataclass(frozen=True, slots=True)
class Found:
    """The longest kept prefix: its nodes in order, and how many tokens; the last node may be used in part."""

    nodes: tuple[Node, ...] = ()
    count: int = 0

    @property
    def in_cells_count(self) -> int:
        """How many of the tokens are in cells."""
        return min(self.count, max((node.end for node in self.nodes if node.in_cells), default=0))


class PrefixTree:
    """All prefixes of one context.

    Attributes:
        used: what each tier holds, in tokens for the cells and in bytes elsewhere.
    """

    def __init__(self) -> None:
        self.used = dict.fromkeys(Tier, 0)
        self._root = Node(None, [], 0, None)
        self._floors = dict.fromkeys(Tier, 0.0)
        self._uses_count = 0

    def find(self, scope: Scope, tokens: list[int]) -> Found:
        """The longest prefix of `tokens` that is kept where this scope may see it."""
        nodes, count = self._walk(scope, tokens, kept_only=True)
        return Found(tuple(nodes), count)

    def place(self, scope: Scope, tokens: list[int]) -> Node:
        """The node that ends exactly where `tokens` do, made if need be; it must be kept before the next call.

        At least one token. A part that everyone may see already is not made again.
        """
        assert tokens, "the root is no prefix"
        nodes, count = self._walk(scope, tokens, kept_only=False)
        node = nodes[-1] if nodes else self._root
        if count < node.end:
            node = self.split(node, count - node.start)
        if count < len(tokens):
            child = Node(scope, tokens[count:], count, node)
            node.children[scope, child.edge[0]] = child
            node = child
        return node

    def split(self, node: Node, count: int) -> Node:
        """Cut a node after its first `count` tokens; the new upper part. The old object is the lower part now."""
        parent = node.parent
        assert parent is not None, "the root has no tokens"
        upper = Node(node.scope, node.edge[:count], node.start, parent)
        upper.used_at, upper.hits_count = node.used_at, node.hits_count
        upper.pins_count = node.pins_count
        upper.in_cells = node.in_cells
        upper.copies = dict(node.copies)
        upper.ranks = dict(node.ranks)
        for copy in upper.copies.values():
            copy.users_count += 1
        parent.children[node.scope, upper.edge[0]] = upper
        node.edge = node.edge[count:]
        node.start += count
        node.parent = upper
        upper.children[node.scope, node.edge[0]] = node
        return upper

    def keep_cells(self, node: Node) -> list[Node]:
        """The cells hold the way to `node`; the nodes of it that they did not hold before."""
        added = [step for step in node.path() if not step.in_cells]
        for step in added:
            step.in_cells = True
            self.used[Tier.CELLS] += len(step.edge)
        self.touch(node)
        return added

    def keep_copy(self, tier: Tier, node: Node, copy: Copy) -> None:
        """The way to `node` has a copy of its positions `copy.start` to `copy.end`.

        Nodes on the way that have a copy in this tier already keep that one, and a client's copy is for its own nodes.
        """
        assert tier is not Tier.CELLS, "cells are no copy"
        for step in node.path():
            covered = copy.start <= step.start and step.end <= copy.end and step.scope == node.scope
            if covered and tier not in step.copies:
                step.copies[tier] = copy
                copy.users_count += 1
        if copy.users_count:
            self.used[tier] += copy.size_bytes
        self.touch(node)

    def touch(self, node: Node) -> None:
        """The way to `node` is used now."""
        self._uses_count += 1
        for step in node.path():
            step.used_at = self._uses_count
            for tier in Tier:
                if step.is_in(tier):
                    step.ranks[tier] = self._floors[tier] + step.recompute_cost()

    @staticmethod
    def pin(node: Node) -> None:
        """Keep the way to `node` where it is."""
        for step in node.path():
            step.pins_count += 1

    @staticmethod
    def unpin(node: Node) -> None:
        """Take one pin back."""
        for step in node.path():
            step.pins_count -= 1

    def coldest(self, tier: Tier) -> Node | None:
        """What should leave a tier first; None when nothing may."""
        return min(
            (node for node in self.nodes() if node.ends(tier) and not node.pins_count),
            key=lambda node: (node.ranks[tier], node.used_at),
            default=None,
        )

    def release(self, tier: Tier, node: Node) -> list[tuple[Tier, Copy]]:
        """Take a node out of a tier; the copies that nothing uses any more, for the caller to delete.

        A node that is in no tier then goes, with what hangs below: without it, that is of no use.
        """
        assert node.ends(tier), "from the ends inwards"
        self._floors[tier] = max(self._floors[tier], node.ranks[tier])
        freed: list[tuple[Tier, Copy]] = []
        self._take_out(tier, node, freed)
        if not node.kept:
            for below in [*self._below(node), node]:
                for other in tuple(below.copies):
                    self._take_out(other, below, freed)
            self._detach(node)
        return freed

    def drop(self, tier: Tier, node: Node) -> list[tuple[Tier, Copy]]:
        """Take a node out of a tier with all that hangs below, pinned or not: what is there is no good."""
        freed: list[tuple[Tier, Copy]] = []
        for child in tuple(node.children.values()):
            if child.is_in(tier):
                freed += self.drop(tier, child)
        return freed + (self.release(tier, node) if node.is_in(tier) else [])

    def forget_new(self, node: Node) -> None:
        """Undo a `place` that nothing came of."""
        if not node.kept and not node.children:
            self._detach(node)

    def nodes(self) -> Iterator[Node]:
        """Every node, in no order."""
        return self._below(self._root)

    # ---- the inside

    def _walk(self, scope: Scope, tokens: list[int], *, kept_only: bool) -> tuple[list[Node], int]:
        """The longest way along `tokens`, and how many of them it has; shared nodes first, then the scope's own."""
        best: tuple[list[Node], int] = ([], 0)
        open_ways: list[tuple[Node, list[Node]]] = [(self._root, [])]
        while open_ways:
            node, way = open_ways.pop(0)
            at = node.end
            if at == len(tokens):
                continue
            owners = (None, scope) if node.scope is None and scope is not None else (scope,)
            for owner in owners:
                child = node.children.get((owner, tokens[at]))
                if child is None or (kept_only and not child.kept):
                    continue
                count = at + common_prefix_count(child.edge, tokens[at : child.end])
                if count > best[1]:
                    best = ([*way, child], count)
                if count == child.end:
                    open_ways.append((child, [*way, child]))
        return best

    def _take_out(self, tier: Tier, node: Node, freed: list[tuple[Tier, Copy]]) -> None:
        del node.ranks[tier]
        if tier is Tier.CELLS:
            node.in_cells = False
            node.sequence = None
            self.used[tier] -= len(node.edge)
            return
        copy = node.copies.pop(tier)
        copy.users_count -= 1
        if copy.users_count == 0:
            self.used[tier] -= copy.size_bytes
            freed.append((tier, copy))

    def _detach(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None, "the root stays"
        del parent.children[node.scope, node.edge[0]]

    def _below(self, top: Node) -> Iterator[Node]:
        waiting = list(top.children.values())
        while waiting:
            node = waiting.pop()
            waiting.extend(node.children.values())
            yield node


def common_prefix_count(left: list[int], right: list[int]) -> int:
    """How many tokens both begin with."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while high - low > 1:  # slices are compared in C
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
