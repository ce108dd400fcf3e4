"""Steps, decided without a model."""

from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.llama.slots import Need, Share, Slot, plan_step, prompt_rows, reusable_count


def test_the_last_token_of_a_prompt_is_always_computed():
    assert reusable_count([1, 2, 3], [1, 2, 3]) == 2
    assert reusable_count([1, 2, 3, 4], [1, 2]) == 1
    assert reusable_count([1, 2], [1, 2, 3]) == 2
    assert reusable_count([9], [1, 2]) == 0
    assert reusable_count([], [1]) == 0


def needs_of(*missing, clients=""):
    clients = clients or "a" * len(missing)
    return [
        Need(Slot(i), count, client) for i, (count, client) in enumerate(zip(missing, clients, strict=True))
    ]


def test_running_answers_go_on_beside_a_long_prompt():
    needs = [
        Need(Slot(0, cached=[1] * 50), 1, "a"),
        Need(Slot(1), 300, "a"),
        Need(Slot(3, cached=[4]), 1, "a"),
    ]
    assert plan_step(needs, batch_tokens=256, chunk_tokens=128) == [
        Share(0, 50, 1, wants_scores=True),
        Share(1, 0, 128, wants_scores=False),
        Share(3, 1, 1, wants_scores=True),
    ]


def test_a_short_prompt_passes_a_long_one_which_still_gets_on():
    assert prompt_rows(needs_of(1500, 40), 128) == [88, 40]
    assert prompt_rows(needs_of(1500, 100, 100), 128) == [32, 96, 0]
    assert prompt_rows(needs_of(20, 1500), 128) == [20, 108]


def test_clients_share_the_rows_of_a_step_alike():
    assert prompt_rows(needs_of(1500, 1500, 1500, 900, clients="aaab"), 128) == [64, 0, 0, 64]
    # What one does not need goes to the others.
    assert prompt_rows(needs_of(10, 1500, 1500, clients="abc"), 130) == [10, 60, 60]


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(1, 300), st.sampled_from("abc")), min_size=1, max_size=8
    ),
    st.integers(8, 64),
    st.integers(1, 64),
)
def test_steps_keep_to_the_batch_and_come_to_an_end(sizes, batch_tokens, chunk_tokens):
    slots = [Slot(index, cached=[0] * cached) for index, (cached, _, _) in enumerate(sizes)]
    targets = [cached + missing for cached, missing, _ in sizes]
    computed = [0] * len(slots)
    for _ in range(3000):
        needs = [
            Need(slot, target - len(slot.cached), client)
            for slot, target, (_, _, client) in zip(slots, targets, sizes, strict=True)
            if len(slot.cached) < target
        ]
        if not needs:
            break
        shares = plan_step(needs, batch_tokens=batch_tokens, chunk_tokens=chunk_tokens)
        answers = {need.slot.index for need in needs if need.missing_count == 1}
        assert answers <= {share.slot for share in shares}
        assert 0 < sum(share.count for share in shares) <= batch_tokens
        assert sum(share.count for share in shares if share.slot not in answers) <= chunk_tokens
        for share in shares:
            slot = slots[share.slot]
            assert share.position == len(slot.cached)
            slot.cached += [0] * share.count
            computed[share.slot] += share.count
            assert share.wants_scores == (len(slot.cached) == targets[share.slot])
    assert computed == [missing for _, missing, _ in sizes]
