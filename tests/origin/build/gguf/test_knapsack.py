"""The choice fits the budget and is the best that fits."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from origin.build.gguf.knapsack import choose

GROUPS = st.lists(
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 10)), min_size=1, max_size=4), min_size=1, max_size=5
)


@settings(max_examples=200)
@given(GROUPS, st.integers(0, 200))
def test_it_is_the_best_that_fits(groups, budget):
    fitting = [
        sum(cost for _, cost in picks)
        for picks in product(*groups)
        if sum(size for size, _ in picks) <= budget
    ]
    chosen = choose(groups, budget)
    if not fitting:
        assert chosen is None
        return
    picks = [group[place] for group, place in zip(groups, chosen, strict=True)]
    assert sum(size for size, _ in picks) <= budget
    assert sum(cost for _, cost in picks) <= min(fitting) + 1e-9


@given(GROUPS, st.integers(0, 200))
def test_how_large_the_costs_are_does_not_matter(groups, budget):
    """KL divergences are small numbers, and small differences between them decide."""
    small = [[(size, cost * 1e-7) for size, cost in group] for group in groups]
    chosen, chosen_small = choose(groups, budget), choose(small, budget)
    assert (chosen is None) == (chosen_small is None)
    if chosen is not None:
        costs = [
            sum(group[place][1] for group, place in zip(groups, places, strict=True))
            for places in (chosen, chosen_small)
        ]
        assert abs(costs[0] - costs[1]) < 1e-6


def test_a_large_budget_is_cut_to_steps_and_still_fits():
    groups = [[(5_000_001, 2.0), (9_000_003, 1.0), (17_000_007, 0.1)]] * 9
    chosen = choose(groups, 100_000_000)
    total = sum(group[place][0] for group, place in zip(groups, chosen, strict=True))
    assert 90_000_000 < total <= 100_000_000
