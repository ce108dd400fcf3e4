"""Who goes to work and who is put off, with books alone."""

import pytest

from edge_node.engines import Generate
from edge_node.engines.llama.admission import Admission
from edge_node.engines.llama.generation import Generation
from edge_node.engines.llama.prefixes import RememberedSequences
from edge_node.engines.llama.sequences import Sequences


class Memory:
    """Native memory that does as it is told."""

    def __init__(self):
        self.restored = []

    def forget(self, _sequence, _position):
        return True

    def copy(self, source, target, count):
        pass

    def save(self, sequence):
        return b"state of %d" % sequence

    def restore(self, _sequence, state):
        self.restored.append(state)
        return True


class Chooser:
    """Never asked here."""

    def free(self):
        pass


@pytest.fixture
def memory():
    return Memory()


class Bench:
    """Admission with slots enough for `slots_count`, computing without a model."""

    def __init__(
        self, memory, *, slots_count=4, cells_count=1000, saved_limit_bytes=1 << 20, remembered=1000
    ):
        self.sequences = Sequences(memory, count=2 * slots_count, cells_count=cells_count, copies_parts=True)
        self.admission = Admission(
            self.sequences,
            RememberedSequences(self.sequences),
            slots_count=slots_count,
            remembered_limit_count=remembered,
            saved_limit_bytes=saved_limit_bytes,
        )
        self.count = 0

    def arrive(self, client="", *, prompt_tokens=10, **more):
        self.count += 1
        request = Generate(request_id=f"{client}{self.count}", text="", client=client, **more)
        prompt = [self.count] * prompt_tokens
        generation = Generation(request, prompt, limit_tokens=900, sampler=Chooser(), now_s=0.0)
        self.admission.arrive(generation)
        return generation

    def step(self):
        self.admission.admit(chunk_tokens=32, now_s=0.0)
        shares = self.admission.plan(chunk_tokens=32)
        at_work = {generation.slot.index: generation for generation in self.admission.at_work}
        for share in shares:
            generation = at_work[share.slot]
            part = generation.tokens[share.position : share.position + share.count]
            self.sequences.extend(generation.slot, part)
        self.admission.computed(shares)
        for share in shares:
            if share.wants_scores:
                at_work[share.slot].tokens.append(0)

    @property
    def working(self):
        return [generation.request_id for generation in self.admission.at_work]


def test_a_new_client_gets_its_share_of_full_slots(memory):
    bench = Bench(memory)
    for _ in range(6):
        bench.arrive("a")
    bench.step()
    assert bench.working == ["a1", "a2", "a3", "a4"]
    for _ in range(3):
        bench.arrive("b")
    bench.step()
    assert bench.working == ["a1", "a2", "b7", "b8"]
    bench.step()
    assert bench.working == ["a1", "a2", "b7", "b8"]  # and stays so
    assert len(bench.admission.waiting) == 5


def test_one_that_was_set_aside_goes_on_with_what_it_had_computed(memory):
    bench = Bench(memory, slots_count=2)
    bench.arrive("a")
    aside = bench.arrive("a")
    bench.step()
    computed_count = len(aside.slot.cached)
    other = bench.arrive("b")
    bench.step()
    assert aside.slot is None
    bench.admission.leave(other)
    bench.step()
    assert len(aside.slot.cached) == computed_count + 1
    assert memory.restored == []


def test_nobody_waits_behind_a_prompt_that_has_no_room(memory):
    bench = Bench(memory, cells_count=200)
    running = bench.arrive("a", prompt_tokens=100)
    bench.step()
    huge = bench.arrive("a", prompt_tokens=140)
    bench.arrive("b", prompt_tokens=20)
    bench.step()
    assert bench.working == ["a1", "b3"]
    bench.admission.leave(running)
    bench.step()
    assert huge.slot is not None


def test_who_has_no_room_is_not_passed_for_ever(memory):
    bench = Bench(memory, cells_count=200)
    bench.arrive("a", prompt_tokens=100)
    bench.step()
    bench.arrive("b", prompt_tokens=150)
    for _ in range(60):
        brief = bench.arrive("c", prompt_tokens=5)
        bench.step()
        if brief.slot is None:
            break
        bench.admission.leave(brief)
    else:
        pytest.fail("short requests passed it for ever")


def test_cells_run_out_and_the_oldest_gets_on(memory):
    bench = Bench(memory, slots_count=2, cells_count=100)
    oldest, youngest = bench.arrive(prompt_tokens=20), bench.arrive(prompt_tokens=20)
    for _ in range(60):
        bench.step()
    assert len(oldest.slot.cached) > 60
    assert youngest.slot is None
    assert youngest.saved_tokens > 20
    bench.admission.leave(oldest)
    bench.step()
    assert len(memory.restored) == 1
    assert len(youngest.slot.cached) == len(youngest.tokens) - 1
    assert youngest.saved == b""


def test_with_no_memory_for_states_it_computes_again(memory):
    bench = Bench(memory, slots_count=2, cells_count=100, saved_limit_bytes=4)
    oldest, youngest = bench.arrive(prompt_tokens=20), bench.arrive(prompt_tokens=20)
    for _ in range(60):
        bench.step()
    bench.admission.leave(oldest)
    assert youngest.saved == b""
    for _ in range(5):
        bench.step()
    assert memory.restored == []
    assert youngest.missing_count == 1


def test_one_alone_may_fill_all_cells(memory):
    bench = Bench(memory, cells_count=100)
    lone = bench.arrive(prompt_tokens=99)
    for _ in range(4):
        bench.step()
    assert len(lone.slot.cached) == 99


def test_who_waits_too_long_is_late_but_not_who_has_begun(memory):
    bench = Bench(memory, slots_count=1)
    bench.arrive(start_within_s=5.0)
    bench.step()
    waiting = bench.arrive(start_within_s=5.0)
    patient = bench.arrive()
    assert bench.admission.late(4.0) == []
    assert bench.admission.late(6.0) == [waiting]
    assert patient in list(bench.admission.waiting)


def test_what_is_remembered_is_bounded_apart_from_those_at_work(memory):
    bench = Bench(memory, remembered=25)
    first, second, third = (bench.arrive(prompt_tokens=20) for _ in range(3))
    for _ in range(4):
        bench.step()
    held_count = len(third.slot.cached)
    bench.admission.leave(first)
    bench.admission.leave(second)
    cells = bench.sequences.cells
    assert held_count < cells.count - cells.free_count <= held_count + 25
