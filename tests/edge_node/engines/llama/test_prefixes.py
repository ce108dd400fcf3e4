"""Which sequence a prompt goes on in, with books alone."""

import pytest

from edge_node.engines.llama.prefixes import RememberedSequences
from edge_node.engines.llama.sequences import Sequences


class Memory:
    """Native memory as tuples of positions; `cuts` False: a recurrent model's."""

    def __init__(self, *, cuts=True):
        self.cuts = cuts
        self.copies = []

    def forget(self, _sequence, position):
        return self.cuts or position == 0

    def copy(self, source, target, count):
        self.copies.append((source, target, count))


@pytest.fixture
def memory():
    return Memory()


def store_of(memory, *, count=3, cells_count=100):
    sequences = Sequences(memory, count=count, cells_count=cells_count, copies_parts=memory.cuts)
    return sequences, RememberedSequences(sequences, copies_parts=memory.cuts)


def work(sequences, store, tokens, client=""):
    """Lend a sequence for a prompt and compute it."""
    slot = store.take(store.find(tokens, client=client), client=client)
    reused_count = len(slot.cached)
    sequences.extend(slot, tokens[reused_count:])
    return slot, reused_count


def test_a_chat_that_goes_on_keeps_its_sequence(memory):
    sequences, store = store_of(memory)
    slot, _ = work(sequences, store, [1, 2, 3])
    store.give_back(slot)
    again, reused_count = work(sequences, store, [1, 2, 3, 4, 5])
    assert (again, reused_count) == (slot, 3)
    assert memory.copies == []


def test_a_prompt_that_parts_ways_shares_the_cells_of_the_beginning(memory):
    sequences, store = store_of(memory)
    slot, _ = work(sequences, store, [1, 2, 3, 4])  # still at work
    other, reused_count = work(sequences, store, [1, 2, 3, 9, 9])
    assert other is not slot
    assert reused_count == 3
    assert memory.copies == [(slot.index, other.index, 3)]
    assert sequences.cells.free_count == 100 - 6


def test_it_says_how_much_any_prompt_could_begin_with():
    for cuts, remembered_tokens in ((True, 4), (False, 0)):
        sequences, store = store_of(Memory(cuts=cuts))
        store.give_back(work(sequences, store, [1, 2, 3, 4])[0])
        assert store.remembered_tokens() == remembered_tokens


def test_clients_do_not_share(memory):
    sequences, store = store_of(memory)
    store.give_back(work(sequences, store, [1, 2, 3], client="a")[0])
    assert work(sequences, store, [1, 2, 3, 4], client="b")[1] == 0
    assert work(sequences, store, [1, 2, 3, 4], client="a")[1] == 3


def test_with_no_sequence_to_spare_the_remembered_one_is_cut(memory):
    sequences, store = store_of(memory, count=1)
    slot, _ = work(sequences, store, [1, 2, 3, 4])
    assert store.take(store.find([1], client=""), client="") is None
    store.give_back(slot)
    assert work(sequences, store, [1, 2, 9]) == (slot, 2)
    assert sequences.cells.free_count == 100 - 3


def test_the_sequences_unused_for_longest_are_forgotten_first(memory):
    sequences, store = store_of(memory)
    lent, _ = work(sequences, store, [9] * 5)
    old, _ = work(sequences, store, [1] * 5)
    new, _ = work(sequences, store, [2] * 5)
    store.give_back(old)
    store.give_back(new)
    store.shed(1)
    assert [len(slot.cached) for slot in (lent, old, new)] == [5, 0, 5]
    store.shed(1000)
    assert [len(slot.cached) for slot in (lent, old, new)] == [5, 0, 0]


def test_a_memory_that_cannot_be_cut_is_emptied():
    memory = Memory(cuts=False)
    sequences, store = store_of(memory, count=2)
    slot, _ = work(sequences, store, [1, 2, 3, 4])
    store.give_back(slot)
    assert work(sequences, store, [1, 2, 3, 9])[1] == 0
    assert memory.copies == []
