"""When cells are moved together, and that nothing is lost by it."""

import itertools

import pytest

from edge_node.engines.llama.gathering import EVERY_STEPS_COUNT, JUDGED_COUNT, LEAST_ANSWERS_COUNT, Gathering
from edge_node.engines.llama.sequences import Sequences
from tests.edge_node.engines.llama.unified_cells import UnifiedCells


class Answers:
    """Sequences that go on by a token each in every step."""

    def __init__(self, count=LEAST_ANSWERS_COUNT, *, move_s=0.0, scratch=True):
        self.native = UnifiedCells(10_000)
        self.sequences = Sequences(self.native, count=count + 2, cells_count=10_000, copies_parts=True)
        *self.slots, _spare, last = self.sequences.slots
        self.now_s, self.move_s = 0.0, move_s
        self.gathering = Gathering(self.sequences, scratch=last if scratch else None, clock=self.clock)
        for slot in self.slots:
            self.compute(slot, list(range(slot.index * 1000, slot.index * 1000 + 10)))

    def clock(self):
        self.now_s += self.move_s
        return self.now_s

    def compute(self, slot, tokens):
        self.native.compute(slot.index, len(slot.cached), tokens)
        self.sequences.extend(slot, tokens)

    def step(self, count=1):
        for _ in range(count):
            for slot in self.slots:
                self.compute(slot, [slot.cached[-1] + 1])
            self.gathering.stepped(self.slots, took_s=0.1)

    def scattered_count(self):
        """Places at which the next cell is not of the same sequence."""
        owners = [min(cell[2]) for cell in self.native.cells]
        return sum(one != other for one, other in itertools.pairwise(owners))

    def check(self):
        for slot in self.sequences.slots:
            assert self.native.content(slot.index) == list(enumerate(slot.cached))
            assert len(slot.cells) == len(slot.cached)
        held = {cell for slot in self.sequences.slots for cell in slot.cells}
        assert len(held) == len(self.native.cells) == self.native.count - self.sequences.cells.free_count


def test_what_the_last_steps_computed_lies_side_by_side():
    answers = Answers()
    answers.step(EVERY_STEPS_COUNT - 1)
    expected = [[*slot.cached, slot.cached[-1] + 1] for slot in answers.slots]
    assert answers.scattered_count() > 100
    answers.step()
    assert answers.scattered_count() < 2 * LEAST_ANSWERS_COUNT
    assert [slot.cached for slot in answers.slots] == expected
    answers.check()


def test_it_goes_on_by_the_steps():
    answers = Answers()
    answers.step(3 * EVERY_STEPS_COUNT)
    assert answers.scattered_count() < 4 * LEAST_ANSWERS_COUNT
    answers.check()


@pytest.mark.parametrize(
    "reason", [{"count": LEAST_ANSWERS_COUNT - 1}, {"scratch": False}], ids=["too few", "no sequence for it"]
)
def test_nothing_moves_without_need_or_means(reason):
    answers = Answers(**reason)
    answers.step(2 * EVERY_STEPS_COUNT)
    assert answers.scattered_count() > 100
    answers.check()


def test_where_moving_is_slow_it_ends():
    answers = Answers(move_s=1.0)
    answers.step(JUDGED_COUNT * EVERY_STEPS_COUNT)
    scattered_count = answers.scattered_count()
    assert scattered_count < (JUDGED_COUNT + 1) * LEAST_ANSWERS_COUNT
    answers.step(EVERY_STEPS_COUNT)
    assert answers.scattered_count() > scattered_count + 100
    answers.check()


def test_one_slow_move_among_quick_ones_is_forgiven():
    answers = Answers(move_s=0.2)
    answers.step(EVERY_STEPS_COUNT)
    answers.move_s = 0.0
    answers.step(2 * JUDGED_COUNT * EVERY_STEPS_COUNT)
    assert answers.scattered_count() < (2 * JUDGED_COUNT + 2) * LEAST_ANSWERS_COUNT
    answers.check()


def test_shared_cells_stay_where_they_are():
    answers = Answers()
    answers.step(EVERY_STEPS_COUNT - 1)
    first, spare = answers.slots[0], answers.sequences.slots[-2]
    answers.sequences.copy(first, spare, len(first.cached))
    shared = list(first.cells)
    answers.step()
    assert first.cells[:-1] == shared
    answers.check()


def test_what_cannot_be_put_back_is_left_to_compute_and_not_tried_again():
    answers = Answers()
    answers.step(EVERY_STEPS_COUNT - 1)
    restore, lost = answers.native.restore, answers.slots[1]
    tokens = list(lost.cached)
    answers.native.restore = lambda sequence, state: (
        str(tokens[-1]).encode() not in state and restore(sequence, state)
    )
    answers.step()
    assert lost.cached == tokens[: len(tokens) + 1 - EVERY_STEPS_COUNT]
    answers.check()
    answers.native.restore = restore
    scattered_count = answers.scattered_count()
    answers.step(EVERY_STEPS_COUNT)
    assert answers.scattered_count() > scattered_count + 100
