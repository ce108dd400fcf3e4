"""How many second requests there may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.client.budget import HedgeAllowance, RetryBudget


@pytest.mark.parametrize(("active", "allowed"), [(1, 3), (39, 3), (40, 4), (100, 10)])
def test_second_requests_are_a_tenth_of_the_active_ones(active, allowed):
    budget = RetryBudget()
    for _ in range(active):
        budget.begin()
    assert [budget.take() for _ in range(allowed + 1)] == [True] * allowed + [False]
    budget.give_back()
    budget.end()
    assert (budget.active_count, budget.taken_count) == (active - 1, allowed - 1)


@given(st.lists(st.sampled_from(["begin", "end", "take", "back"]), max_size=300))
def test_a_taken_one_was_always_within_the_budget(events):
    budget = RetryBudget()
    for event in events:
        if event == "begin":
            budget.begin()
        elif event == "end" and budget.active_count:
            budget.end()
        elif event == "take" and budget.take():
            assert budget.taken_count <= max(3, budget.active_count // 10)
        elif event == "back" and budget.taken_count:
            budget.give_back()


@given(st.lists(st.booleans(), max_size=2000))
def test_hedges_are_a_fiftieth(wishes):
    allowance, sent = HedgeAllowance(), 0
    for earned, wish in enumerate(wishes, start=1):
        allowance.earn()
        if wish and allowance.ready():
            allowance.spend()
            sent += 1
        assert sent <= earned / 50 + 1e-6
    if len(wishes) >= 150 and not any(wishes):
        assert [allowance.ready() and not allowance.spend() for _ in range(4)] == [True, True, True, False]
