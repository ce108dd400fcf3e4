"""Prefixes in cells, memory and on the disk, over a memory that keeps llama.cpp's rules in plain dictionaries."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_node.engines.llama import radix_prefixes
from edge_node.engines.llama.prefix_disk import PrefixDisk, Stored
from edge_node.engines.llama.prefix_file import encode_head, head_of
from edge_node.engines.llama.prefix_tree import Tier
from edge_node.engines.llama.radix_prefixes import RadixPrefixes
from edge_node.engines.llama.sequences import Sequences
from tests.edge_node.engines.llama.unified_cells import UnifiedCells


class Bench:
    """Generations without a model."""

    def __init__(self, *, cells_count=64, sequences_count=8, memory_limit_bytes=0, **more):
        self.native = UnifiedCells(cells_count)
        self.sequences = Sequences(
            self.native, count=sequences_count, cells_count=cells_count, copies_parts=True
        )
        self.store = RadixPrefixes(self.sequences, memory_limit_bytes=memory_limit_bytes, **more)

    def start(self, prompt, client=""):
        """(slot, found) of a prompt that is computed to its end."""
        found = self.store.find(prompt, client=client)
        slot = self.store.take(found, client=client)
        if slot is None:
            return None, found
        assert slot.cached == prompt[: len(slot.cached)]
        assert len(slot.cached) <= found.tokens_count < len(prompt)
        missing = prompt[len(slot.cached) :]
        self.store.shed(len(missing) - self.sequences.cells.free_count)
        if self.sequences.cells.free_count < len(missing):
            self.sequences.cut(slot, 0)
            self.store.give_back(slot)
            return None, found
        self.native.compute(slot.index, len(slot.cached), missing)
        self.sequences.extend(slot, missing)
        return slot, found

    def run(self, prompt, client=""):
        slot, found = self.start(prompt, client)
        self.store.give_back(slot)
        return found

    def check(self):
        books = set()
        for slot in self.sequences.slots:
            assert self.native.content(slot.index) == list(enumerate(slot.cached))
            assert len(slot.cells) == len(slot.cached)
            books.update(slot.cells)
        assert len(self.native.cells) == len(books)
        assert self.sequences.cells.free_count == self.native.count - len(books)
        tree = self.store._tree
        remembered = {}
        for node in tree.nodes():
            assert (node.sequence is not None) == node.ends(Tier.CELLS)
            if node.sequence is not None:
                assert self.sequences.slots[node.sequence].cached == node.tokens()
                remembered[node.sequence] = node
        held = {cell for index in remembered for cell in self.sequences.slots[index].cells}
        assert tree.used[Tier.CELLS] == len(held), "shared stretches are held once"
        idle = {slot.index for slot in self.sequences.slots if slot.cached} - set(self.store._lent)
        assert idle == set(remembered)


@pytest.fixture(autouse=True)
def short_stretches_count(monkeypatch):
    monkeypatch.setattr(radix_prefixes, "LEAST_KEPT_TOKENS", 2)
    monkeypatch.setattr(radix_prefixes, "LEAST_IN_MEMORY_TOKENS", 2)


class Traffic(RuleBasedStateMachine):
    """Any traffic, with few cells, few sequences, little memory and a small disk."""

    prompts = st.lists(st.integers(0, 1), min_size=2, max_size=14)

    @initialize(cells_count=st.integers(16, 64), memory=st.sampled_from([0, 60, 1000]))
    def begin(self, cells_count, memory):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(radix_prefixes, "LEAST_KEPT_TOKENS", 2)
        self.patch.setattr(radix_prefixes, "LEAST_IN_MEMORY_TOKENS", 2)
        self.directory = tempfile.TemporaryDirectory()
        head = head_of("me", None, 0, [0, 0, 1, 1], b"")
        payload = json.dumps([[0, 0], [1, 0], [2, 1], [3, 1]]).encode()
        head = head_of("me", None, 0, [0, 0, 1, 1], payload)
        release = Path(self.directory.name, "system.edgekv")
        release.write_bytes(encode_head(head) + payload)
        self.limits = {"cells_count": cells_count, "memory_limit_bytes": memory}
        self.published = [Stored(release, head, release.stat().st_size, 0)]
        self.open()

    def open(self):
        self.disk = PrefixDisk(Path(self.directory.name, "prefixes"), identity="me")
        self.bench = Bench(**self.limits, disk=self.disk, disk_limit_bytes=700, published=self.published)
        self.lent = []

    @rule(prompt=prompts, client=st.sampled_from(["", "ann"]))
    def start_one(self, prompt, client):
        if len(self.lent) < 3:
            slot, _ = self.bench.start(prompt, client)
            if slot is not None:
                self.lent.append(slot)

    @precondition(lambda self: self.lent)
    @rule(data=st.data(), more=st.lists(st.integers(0, 1), max_size=3))
    def end_one(self, data, more):
        slot = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        if len(more) <= self.bench.sequences.cells.free_count:
            self.bench.native.compute(slot.index, len(slot.cached), more)
            self.bench.sequences.extend(slot, more)
        self.bench.store.give_back(slot)

    @rule(count=st.integers(1, 20))
    def shed(self, count):
        self.bench.store.shed(count)

    @rule()
    def restart(self):
        self.bench.store.close()
        self.open()

    @rule(data=st.data())
    def lose_a_file(self, data):
        files = sorted(self.disk._directory.glob("*.edgekv"))
        if files:
            files[data.draw(st.integers(0, len(files) - 1))].write_bytes(b"rotten")

    @invariant()
    def books_and_cells_agree(self):
        self.bench.check()
        if self.bench.store._writing is not None:
            # What comes next must not depend on how quick the disk is.
            self.bench.store._writing[-1].result()

    def teardown(self):
        if hasattr(self, "bench"):
            self.bench.store.close()
            self.directory.cleanup()
            self.patch.undo()


Traffic.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
test_any_traffic_leaves_the_books_right = Traffic.TestCase


def test_the_second_prompt_shares_the_cells_of_the_first():
    bench = Bench()
    bench.run([1, 2, 3, 4, 5])
    slot, found = bench.start([1, 2, 3, 9])
    assert (found.tokens_count, found.source) == (3, "memory")
    assert len(bench.native.cells) == 6
    bench.store.give_back(slot)
    bench.check()


def test_it_says_how_much_it_remembers_wherever_that_is():
    bench = Bench(memory_limit_bytes=10_000)
    assert bench.store.remembered_tokens() == 0
    bench.run([1, 2, 3, 4])
    bench.run([1, 2, 3, 5, 6])
    bench.run([1, 2, 3], client="bob")
    assert bench.store.remembered_tokens() == 4 + 2 + 3
    bench.store.shed(100)
    assert bench.store.remembered_tokens() == bench.store._tree.used[Tier.CELLS] + sum(
        len(node.edge) for node in bench.store._tree.nodes() if node.copies
    )


def test_a_prompt_shares_with_one_that_is_still_at_work():
    bench = Bench()
    first, _ = bench.start([1, 2, 3, 4])
    second, found = bench.start([1, 2, 3, 5])
    assert found.slot is first
    assert len(bench.native.cells) == 5
    bench.store.give_back(second)
    bench.store.give_back(first)
    bench.check()


def test_clients_do_not_share_and_those_without_a_name_are_one():
    bench = Bench()
    bench.run([1, 2, 3, 4], client="ann")
    assert bench.store.find([1, 2, 3, 4], client="bob").tokens_count == 0
    assert bench.store.find([1, 2, 3, 4], client="").tokens_count == 0
    first, _ = bench.start([5, 6, 7], client="ann")
    assert bench.store.find([5, 6, 7], client="bob").tokens_count == 0
    bench.store.give_back(first)
    bench.run([8, 8, 8])
    assert bench.store.find([8, 8, 8], client="").tokens_count == 2


def test_what_leaves_the_cells_comes_back_from_memory():
    bench = Bench(memory_limit_bytes=1000)
    bench.run([1, 2, 3, 4, 5])
    bench.store.shed(100)
    assert not bench.native.cells
    slot, found = bench.start([1, 2, 3, 9])
    assert (found.tokens_count, found.restored_count, found.source) == (3, 3, "memory")
    assert slot.cached == [1, 2, 3, 9]
    bench.check()


def test_of_short_stretches_no_copy_is_made(monkeypatch):
    """The figures of real use: 8 tokens are worth a copy in memory, 7 are not."""
    monkeypatch.undo()
    for tokens_count, restored_count in ((7, 0), (8, 8)):
        bench = Bench(memory_limit_bytes=10_000)
        prompt = list(range(tokens_count))
        bench.run(prompt)
        bench.store.shed(100)
        assert not bench.native.cells
        slot, found = bench.start([*prompt, 99])
        assert (found.tokens_count, found.restored_count) == (restored_count, restored_count)
        assert slot.cached == [*prompt, 99]
        bench.check()


def test_of_stretches_that_are_not_long_no_file_is_made(monkeypatch, tmp_path):
    """The figures of real use: where prompts fork after 64 tokens a file is made, after 63 none."""
    monkeypatch.undo()
    for shared_count, files_count in ((63, 0), (64, 1)):
        place = tmp_path / str(shared_count)
        bench = Bench(cells_count=200, disk=PrefixDisk(place, identity="me"), disk_limit_bytes=1_000_000)
        beginning = list(range(shared_count))
        bench.run([*beginning, 1000])
        bench.run([*beginning, 1001])
        bench.store.close()
        assert len(list(place.iterdir())) == files_count


def kept_on_disk(tmp_path, **more):
    """A bench whose disk has the beginning that two prompts shared."""
    bench = Bench(disk=PrefixDisk(tmp_path, identity="me"), disk_limit_bytes=10_000, **more)
    bench.run([1, 2, 3, 4, 5])
    bench.run([1, 2, 3, 9, 9])
    bench.store.close()
    return bench


def reopened(tmp_path, **more):
    return Bench(disk=PrefixDisk(tmp_path, identity="me"), disk_limit_bytes=10_000, **more)


def test_where_prompts_fork_the_beginning_outlives_the_process(tmp_path):
    kept_on_disk(tmp_path)
    bench = reopened(tmp_path)
    slot, found = bench.start([1, 2, 3, 7])
    assert (found.tokens_count, found.source) == (3, "disk")
    assert slot.cached == [1, 2, 3, 7]
    bench.check()
    assert bench.store.find([1, 2, 3, 8], client="").source == "memory"
    assert bench.store.find([1, 2, 3, 8], client="ann").tokens_count == 0
    bench.store.close()


def test_what_came_from_a_file_comes_from_memory_the_next_time(tmp_path):
    kept_on_disk(tmp_path)
    bench = reopened(tmp_path, memory_limit_bytes=1000)
    assert bench.run([1, 2, 3, 7]).source == "disk"
    bench.store.shed(100)
    assert not bench.native.cells
    assert bench.run([1, 2, 3, 8]).source == "memory"
    bench.check()
    bench.store.close()


def test_a_single_conversation_is_not_written(tmp_path):
    bench = reopened(tmp_path)
    bench.run([1, 2, 3])
    bench.run([1, 2, 3, 4, 5])
    bench.store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_rotten_file_is_computed_again_and_goes(tmp_path):
    kept_on_disk(tmp_path)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    bench = reopened(tmp_path)
    path.write_bytes(data[:-1] + b"?")
    slot, _ = bench.start([1, 2, 3, 7])
    assert slot.cached == [1, 2, 3, 7]
    assert list(tmp_path.iterdir()) == []
    assert bench.store.find([1, 2, 3, 8], client="ann").tokens_count == 0
    bench.check()
    bench.store.close()


def test_a_state_of_other_positions_than_it_says_is_not_used(tmp_path):
    kept_on_disk(tmp_path)
    bench = reopened(tmp_path)
    bench.native.span = lambda _sequence: (0, 2)
    slot, found = bench.start([1, 2, 3, 7])
    assert found.tokens_count == 3
    assert bench.native.content(slot.index) == list(enumerate([1, 2, 3, 7]))
    assert bench.store.find([1, 2, 3, 8], client="").slot is slot
    bench.check()
    bench.store.close()


def test_of_a_copy_that_goes_on_otherwise_only_the_beginning_is_used(tmp_path):
    """The release brings 1 2 3 3; what this client said after 1 2 left the cells apart from it, and both come back."""
    payload = json.dumps([[0, 1], [1, 2], [2, 3], [3, 3]]).encode()
    head = head_of("me", None, 0, [1, 2, 3, 3], payload)
    (tmp_path / "system.edgekv").write_bytes(encode_head(head) + payload)
    bench = Bench(
        published=[Stored(tmp_path / "system.edgekv", head, len(payload), 0)], memory_limit_bytes=1000
    )
    bench.run([1, 2, 7, 8])
    bench.store.shed(100)
    slot, found = bench.start([1, 2, 7, 8, 9])
    assert found.tokens_count == 4
    assert slot.cached == [1, 2, 7, 8, 9]
    bench.check()


def test_the_disk_keeps_to_its_limit(tmp_path):
    kept_on_disk(tmp_path)
    (path,) = tmp_path.iterdir()
    bench = Bench(disk=PrefixDisk(tmp_path, identity="me"), disk_limit_bytes=path.stat().st_size - 1)
    bench.store.close()
    assert list(tmp_path.iterdir()) == []


def test_what_the_release_brings_is_for_everyone_and_stays(tmp_path):
    payload = json.dumps([[0, 1], [1, 2], [2, 3]]).encode()
    head = head_of("me", None, 0, [1, 2, 3], payload)
    (tmp_path / "system.edgekv").write_bytes(encode_head(head) + payload)
    stored = Stored(tmp_path / "system.edgekv", head, len(payload), 0)
    bench = Bench(published=[stored])
    for client in ("ann", "bob"):
        assert bench.store.find([1, 2, 3, 4], client=client).source == "release"
        bench.store.shed(100)
    bench.run([1, 2, 3, 4], client="ann")
    found = bench.store.find([1, 2, 3, 4, 5], client="bob")
    assert (found.tokens_count, found.source) == (3, "memory")
    assert bench.store.find([1, 2, 3, 4, 5], client="ann").tokens_count == 4
    bench.store.shed(100)
    assert bench.store.find([1, 2, 3, 4], client="bob").source == "release"
    bench.check()
