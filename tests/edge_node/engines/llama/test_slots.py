"""Slots and steps, decided without a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.llama.slots import Share, Slot, choose_slot, plan_step, reusable_count, slots_to_empty


def test_the_last_token_of_a_prompt_is_always_computed():
    assert reusable_count([1, 2, 3], [1, 2, 3]) == 2
    assert reusable_count([1, 2, 3, 4], [1, 2]) == 1
    assert reusable_count([1, 2], [1, 2, 3]) == 2
    assert reusable_count([9], [1, 2]) == 0
    assert reusable_count([], [1]) == 0


def test_the_slot_that_keeps_most_is_chosen_then_an_empty_then_the_oldest():
    remembering = Slot(0, cached=[1, 2, 3, 4], used_at=1)
    other = Slot(1, cached=[1, 2, 9], used_at=2)
    empty = Slot(2)
    assert choose_slot([empty, other, remembering], [1, 2, 3, 7]) is remembering
    assert choose_slot([remembering, other, empty], [5, 6]) is empty
    assert choose_slot([other, remembering], [5, 6]) is remembering


def test_running_answers_go_on_beside_a_long_prompt():
    needs = [
        (Slot(0, cached=[1] * 50), [1] * 51),
        (Slot(1), [2] * 300),
        (Slot(2), [3] * 40),
        (Slot(3, cached=[4]), [4, 4]),
    ]
    assert plan_step(needs, batch_tokens=256, chunk_tokens=128) == [
        Share(0, 50, 1, wants_scores=True),
        Share(1, 0, 128, wants_scores=False),
        Share(3, 1, 1, wants_scores=True),
    ]


def test_a_short_prompt_takes_what_the_first_leaves():
    needs = [(Slot(0), [1] * 100), (Slot(1), [2] * 100)]
    assert plan_step(needs, batch_tokens=256, chunk_tokens=128) == [
        Share(0, 0, 100, wants_scores=True),
        Share(1, 0, 28, wants_scores=False),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 300)), min_size=1, max_size=4),
    st.integers(4, 64),
    st.integers(1, 64),
)
def test_steps_keep_to_the_batch_and_come_to_an_end(sizes, batch_tokens, chunk_tokens):
    slots = [Slot(index, cached=[0] * cached) for index, (cached, _) in enumerate(sizes)]
    targets = [[0] * (cached + missing) for cached, missing in sizes]
    computed = [0] * len(slots)
    for _ in range(2000):
        needs = [(s, t) for s, t in zip(slots, targets, strict=True) if len(s.cached) < len(t)]
        if not needs:
            break
        shares = plan_step(needs, batch_tokens=batch_tokens, chunk_tokens=chunk_tokens)
        assert 0 < sum(share.count for share in shares) <= batch_tokens
        for share in shares:
            slot = slots[share.slot]
            assert share.position == len(slot.cached)
            slot.cached += [0] * share.count
            computed[share.slot] += share.count
            assert share.wants_scores == (len(slot.cached) == len(targets[share.slot]))
    assert computed == [missing for _, missing in sizes]


@pytest.mark.parametrize(("missing", "emptied"), [(0, []), (1, [2]), (10, [2]), (11, [2, 0]), (99, [2, 0])])
def test_the_slots_unused_for_longest_are_emptied_first(missing, emptied):
    idle = [Slot(0, cached=[1] * 5, used_at=7), Slot(1, used_at=0), Slot(2, cached=[1] * 10, used_at=3)]
    assert [slot.index for slot in slots_to_empty(idle, missing_cells_count=missing)] == emptied
