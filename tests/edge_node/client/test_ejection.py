"""Who is set aside, for how long, and who tries again, under a virtual clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.client.ejection import EJECTION_MOST_S, FAILURES_COUNT, TRIAL_MOST_S, Ejections, allowed_count

NODES = [f"n{i}" for i in range(6)]


def never():
    return 0.0


def fail(ejections, node, now_s, times=FAILURES_COUNT, known=NODES):
    return [ejections.failed(node, known, now_s) for _ in range(times)][-1]


def test_three_failures_in_a_row_set_aside_and_a_success_between_starts_anew():
    ejections = Ejections(never)
    assert not fail(ejections, "n0", 0.0, 2)
    assert ejections.failing("n0")
    ejections.succeeded("n0", 0.0)
    assert not ejections.failing("n0")
    assert not fail(ejections, "n0", 0.0, 2)
    assert ejections.aside_s("n0", 0.0) == 0
    assert fail(ejections, "n0", 1.0, 1)
    assert ejections.aside_s("n0", 1.0) == 10.0
    assert ejections.aside_s("n0", 10.9) == pytest.approx(0.1)
    assert ejections.aside_s("n0", 11.0) == 0


def test_one_request_tries_a_node_whose_time_is_over():
    ejections = Ejections(never)
    fail(ejections, "n0", 0.0)
    assert ejections.aside_s("n0", 10.0) == 0
    ejections.begin("n0", 10.0)
    assert ejections.aside_s("n0", 10.0) > 0  # for everybody else
    ejections.succeeded("n0", 10.5)
    assert ejections.aside_s("n0", 10.5) == 0
    assert not ejections.failing("n0")


def test_a_failed_trial_sets_aside_for_longer():
    ejections = Ejections(never)
    fail(ejections, "n0", 0.0)
    now_s = 0.0
    for length_s in (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 120, 120):
        assert ejections.aside_s("n0", now_s) == pytest.approx(length_s)
        now_s += length_s
        ejections.begin("n0", now_s)
        assert ejections.failed("n0", NODES, now_s)


def test_a_trial_that_tells_nothing_is_left_to_the_next():
    ejections = Ejections(never)
    fail(ejections, "n0", 0.0)
    ejections.begin("n0", 10.0)
    ejections.gave_up("n0")
    assert ejections.aside_s("n0", 10.0) == 0
    ejections.begin("n0", 11.0)
    assert ejections.aside_s("n0", 11.0 + TRIAL_MOST_S) == 0


def test_failures_while_set_aside_change_nothing():
    ejections = Ejections(never)
    fail(ejections, "n0", 0.0)
    assert not fail(ejections, "n0", 5.0, 10)
    assert ejections.aside_s("n0", 5.0) == 5.0


def test_a_node_that_flaps_is_set_aside_for_longer_until_it_has_been_well_for_two_minutes():
    ejections = Ejections(never)
    fail(ejections, "n0", 0.0)
    ejections.begin("n0", 10.0)
    ejections.succeeded("n0", 10.0)
    fail(ejections, "n0", 11.0)
    assert ejections.aside_s("n0", 11.0) == 20.0
    ejections.succeeded("n0", 31.0)
    fail(ejections, "n0", 31.0 + EJECTION_MOST_S + 1)
    assert ejections.aside_s("n0", 31.0 + EJECTION_MOST_S + 1) == 10.0


def test_not_all_clients_come_back_at_once():
    def length_s(seed):
        ejections = Ejections(random.Random(seed).random)
        fail(ejections, "n0", 0.0)
        return ejections.aside_s("n0", 0.0)

    lengths_s = [length_s(seed) for seed in range(200)]
    assert min(lengths_s) >= 7.5
    assert max(lengths_s) <= 10.0
    assert max(lengths_s) - min(lengths_s) > 2.0


@pytest.mark.parametrize(
    ("nodes", "allowed"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (6, 2), (16, 5), (100, 34)]
)
def test_how_many_may_be_set_aside(nodes, allowed):
    assert allowed_count(nodes) == allowed


def test_a_node_too_many_stays_and_a_replacement_is_wanted():
    ejections = Ejections(never)
    assert fail(ejections, "n0", 0.0, known=NODES[:4])
    assert fail(ejections, "n1", 0.0, known=NODES[:4])
    assert ejections.aside_s("n1", 0.0) == 0
    assert ejections.failed("n1", NODES[:4], 10.0)  # n0's time is over
    assert ejections.aside_s("n1", 10.0) == 10.0


def test_a_node_too_many_is_doubted_for_3_s_and_then_one_request_tries_it():
    ejections = Ejections(never)
    fail(ejections, "n0", 0.0, known=NODES[:4])
    fail(ejections, "n1", 0.0, known=NODES[:4])
    assert [ejections.doubted(node, 0.0) for node in NODES[:4]] == [False, True, False, False]
    assert ejections.doubted("n1", 2.9)
    assert not ejections.doubted("n1", 3.0)
    ejections.begin("n1", 3.0)
    assert ejections.doubted("n1", 3.0), "for everybody else"
    ejections.failed("n1", NODES[:4], 3.5)
    assert ejections.doubted("n1", 6.4)
    ejections.begin("n1", 6.5)
    ejections.gave_up("n1")
    assert not ejections.doubted("n1", 6.5), "a trial that told nothing is left to the next"
    ejections.begin("n1", 6.5)
    ejections.succeeded("n1", 6.6)
    assert not ejections.doubted("n1", 6.6)
    assert not fail(ejections, "n1", 6.7, 2, known=NODES[:4])
    assert not ejections.doubted("n1", 6.7), "it begins anew"


def test_a_doubted_node_is_set_aside_when_there_is_room_for_it():
    ejections = Ejections(never)
    fail(ejections, "n0", 0.0, known=NODES[:4])
    fail(ejections, "n1", 9.0, known=NODES[:4])
    assert ejections.doubted("n1", 10.0)
    ejections.failed("n1", NODES[:4], 10.0)
    assert (ejections.doubted("n1", 10.0), ejections.aside_s("n1", 10.0)) == (False, 10.0)


def test_what_is_forgotten():
    ejections = Ejections(never)
    fail(ejections, "n0", 0.0)
    fail(ejections, "n1", 0.0)
    ejections.failed("n2", NODES, 0.0)
    ejections.forget_all_but({"n1"}, 5.0)
    assert not ejections.failing("n2")
    # Whoever names n0 again does not know that it failed.
    assert (ejections.aside_s("n0", 5.0), ejections.aside_s("n1", 5.0)) == (5.0, 5.0)
    assert ejections.unfit(5.0) == {"n0", "n1"}
    ejections.forget_all_but({"n1"}, 10.0)
    assert (ejections.failing("n0"), ejections.failing("n1")) == (False, True)


EVENTS = st.lists(
    st.tuples(st.integers(0, 11), st.floats(0, 60), st.sampled_from(["begin", "good", "bad", "gone"])),
    max_size=80,
)


@given(st.integers(1, 12), st.integers(0, 2**32), EVENTS)
def test_never_more_than_a_third_never_all_and_never_for_ever(count, seed, events):
    ejections = Ejections(random.Random(seed).random)
    known = [f"n{i}" for i in range(count)]
    now_s = 0.0
    for index, step_s, event in events:
        now_s += step_s
        node = known[index % count]
        free = ejections.aside_s(node, now_s) == 0
        if event == "begin":
            ejections.begin(node, now_s)
        elif event == "good":
            ejections.succeeded(node, now_s)
            assert ejections.aside_s(node, now_s) == 0
        elif event == "bad":
            before = sum(ejections.aside_s(one, now_s) > 0 for one in known)
            ejections.failed(node, known, now_s)
            after = sum(ejections.aside_s(one, now_s) > 0 for one in known)
            assert after <= max(before, allowed_count(count))
            assert not (free and after > before and after > allowed_count(count))
        else:
            ejections.gave_up(node)
        assert all(ejections.aside_s(one, now_s) <= EJECTION_MOST_S for one in known)
    assert all(ejections.aside_s(one, now_s + EJECTION_MOST_S) == 0 for one in known)
