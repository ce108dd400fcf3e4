"""The tree of prefixes against a plain dictionary of every prefix."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_node.engines.llama.prefix_tree import Copy, PrefixTree, Tier, common_prefix_count

SCOPES = (None, "", "ann", "bob")
scopes = st.sampled_from(SCOPES)
prefixes = st.lists(st.integers(0, 2), min_size=1, max_size=9)


def positions(node):
    """(owner, prefix) of each token of a node, as the dictionary names them."""
    tokens = node.tokens()
    return [(node.scope, tuple(tokens[: at + 1])) for at in range(node.start, node.end)]


class TreeBesideDictionary(RuleBasedStateMachine):
    """Every step is done to both; what the tree says must follow from the dictionary."""

    @initialize()
    def start(self):
        self.tree = PrefixTree()
        self.kept = {tier: {} for tier in Tier}  # tier → (owner, prefix) → the copy, True in cells
        self.pinned = []

    def longest(self, scope, tokens):
        """By definition: every shorter prefix is kept too, for everyone or for this scope."""
        count = 0
        for end in range(1, len(tokens) + 1):
            seen = [
                owner
                for owner in {None, scope}
                for tier in Tier
                if (owner, tuple(tokens[:end])) in self.kept[tier]
            ]
            if not seen:
                break
            count = end
        return count

    @rule(scope=scopes, tokens=prefixes)
    def find(self, scope, tokens):
        found = self.tree.find(scope, tokens)
        assert found.count == self.longest(scope, tokens)
        assert {node.scope for node in found.nodes} <= {None, scope}
        way = [token for node in found.nodes for token in node.edge]
        assert common_prefix_count(way, tokens) == found.count
        assert not found.nodes or found.nodes[-1].start < found.count
        assert found.in_cells_count <= found.count

    @rule(scope=scopes, tokens=prefixes)
    def keep_in_cells(self, scope, tokens):
        before = self.tree.used[Tier.CELLS]
        node = self.tree.place(scope, tokens)
        assert node.tokens() == tokens
        added = self.tree.keep_cells(node)
        for step in added:
            for position in positions(step):
                assert self.kept[Tier.CELLS].setdefault(position, True)
        assert self.tree.used[Tier.CELLS] == before + sum(len(step.edge) for step in added)
        assert self.tree.find(scope, tokens).in_cells_count == len(tokens)

    @rule(tier=st.sampled_from([Tier.MEMORY, Tier.DISK]), scope=scopes, tokens=prefixes, data=st.data())
    def keep_a_copy(self, tier, scope, tokens, data):
        found = self.tree.find(scope, tokens)
        if not found.count:
            return
        node = self.tree.place(scope, tokens[: found.count])
        starts = [step.start for step in node.path()]
        start = data.draw(st.sampled_from(starts))
        copy = Copy(start, node.end, size_bytes=data.draw(st.integers(1, 99)), value=None)
        self.tree.keep_copy(tier, node, copy)
        for step in node.path():
            if step.copies.get(tier) is copy:
                assert step.start >= start
                for position in positions(step):
                    assert position not in self.kept[tier]
                    self.kept[tier][position] = copy

    @rule(scope=scopes, tokens=prefixes)
    def pin(self, scope, tokens):
        for node in self.tree.find(scope, tokens).nodes[-1:]:
            self.tree.pin(node)
            self.pinned.append(node)

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data):
        node = self.pinned.pop(data.draw(st.integers(0, len(self.pinned) - 1)))
        self.tree.unpin(node)

    @rule(tier=st.sampled_from(Tier))
    def evict(self, tier):
        node = self.tree.coldest(tier)
        if node is None:
            assert not self.kept[tier] or self.pinned
            return
        gone = positions(node)
        assert not any(node in pinned.path() for pinned in self.pinned)
        before = dict(self.tree.used)
        freed = self.tree.release(tier, node)
        for position in gone:
            del self.kept[tier][position]
        if not node.kept:  # what hung below is of no use without it
            owner, prefix = gone[0]
            for other in Tier:
                for held in list(self.kept[other]):
                    below = held[1][: len(prefix)] == prefix and owner in {None, held[0]}
                    # The owner's same tokens may also hang below what everyone shares, and stay there.
                    if below and not self.tree_keeps(other, held):
                        assert other is not Tier.CELLS or owner is None
                        del self.kept[other][held]
        for other in (Tier.MEMORY, Tier.DISK):
            expected = before[other] - sum(copy.size_bytes for where, copy in freed if where is other)
            assert self.tree.used[other] == expected

    def tree_keeps(self, tier, position):
        return any(position in positions(node) for node in self.tree.nodes() if node.is_in(tier))

    @invariant()
    def sums_are_right(self):
        assert self.tree.used[Tier.CELLS] == len(self.kept[Tier.CELLS])
        for tier in (Tier.MEMORY, Tier.DISK):
            copies = {id(copy): copy for copy in self.kept[tier].values()}
            assert self.tree.used[tier] == sum(copy.size_bytes for copy in copies.values())

    @invariant()
    def the_tree_is_one(self):
        for node in self.tree.nodes():
            assert node.edge
            assert node.kept
            assert node.parent.end == node.start
            assert node.parent.children[node.scope, node.edge[0]] is node
            assert node.parent.scope in {None, node.scope}
            assert not node.in_cells or node.parent.in_cells or node.start == 0
        assert all(any(node is pinned for node in self.tree.nodes()) for pinned in self.pinned)


TreeBesideDictionary.TestCase.settings = settings(max_examples=120, stateful_step_count=30)
test_the_tree_is_a_dictionary_of_prefixes = TreeBesideDictionary.TestCase


def kept(tree, scope, tokens):
    node = tree.place(scope, tokens)
    tree.keep_cells(node)
    return node


def test_the_prefix_unused_for_longest_goes_first_and_from_its_end():
    tree = PrefixTree()
    first = kept(tree, "", [1, 2, 3, 4])
    second = kept(tree, "", [1, 2, 5, 6])
    tree.touch(first)
    assert tree.coldest(Tier.CELLS) is second
    tree.release(Tier.CELLS, second)
    assert tree.coldest(Tier.CELLS) is first
    tree.release(Tier.CELLS, first)
    assert tree.coldest(Tier.CELLS).tokens() == [1, 2]


def test_what_is_dear_to_compute_outlives_what_is_cheap_but_not_for_ever():
    tree = PrefixTree()
    deep = kept(tree, "", [7] * 4096)
    tail = kept(tree, "", [7] * 4096 + [8] * 4096)
    for token in range(8):
        kept(tree, "", [token + 10])
    gone = []
    for token in range(30):
        node = tree.coldest(Tier.CELLS)
        gone.append(node)
        tree.release(Tier.CELLS, node)
        kept(tree, "", [token + 100])
    assert gone.index(tail) > 0  # nothing was older
    assert tail in gone
    assert deep not in gone[: gone.index(tail)]


def test_a_client_builds_on_what_is_shared_and_others_do_not_see_it():
    tree = PrefixTree()
    kept(tree, None, [1, 2, 3, 4])
    kept(tree, "ann", [1, 2, 3, 9, 9])
    assert tree.used[Tier.CELLS] == 6
    assert tree.find("ann", [1, 2, 3, 9, 9]).count == 5
    assert tree.find("bob", [1, 2, 3, 9, 9]).count == 3
    assert tree.find(None, [1, 2, 3, 9, 9]).count == 3
    kept(tree, "", [5, 5])
    assert tree.find("ann", [5, 5]).count == 0
    assert tree.find(None, [5, 5]).count == 0


def test_a_split_leaves_the_sequence_with_the_lower_part_and_pins_both():
    tree = PrefixTree()
    whole = kept(tree, "", [1, 2, 3, 4])
    whole.sequence = 9
    tree.pin(whole)
    upper = tree.place("", [1, 2])
    assert (upper.sequence, upper.pins_count, upper.in_cells) == (None, 1, True)
    assert (whole.tokens(), whole.sequence, whole.pins_count) == ([1, 2, 3, 4], 9, 1)
    tree.unpin(whole)
    assert (upper.pins_count, whole.pins_count) == (0, 0)


def test_a_copy_counts_once_until_its_last_part_goes():
    tree = PrefixTree()
    node = kept(tree, "", [1, 2, 3, 4])
    copy = Copy(0, 4, size_bytes=40, value="blob")
    tree.keep_copy(Tier.DISK, node, copy)
    tree.place("", [1, 2])
    assert tree.used[Tier.DISK] == 40
    assert tree.release(Tier.DISK, tree.coldest(Tier.DISK)) == []
    assert tree.used[Tier.DISK] == 40
    assert tree.release(Tier.DISK, tree.coldest(Tier.DISK)) == [(Tier.DISK, copy)]
    assert tree.used[Tier.DISK] == 0
