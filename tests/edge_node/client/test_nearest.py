"""The choice of a node under a virtual clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.client.nearest import Nearest, RetryBudget, connect_timeout_s, ejections_allowed_count
from origin.api import RankedNode, RouteAnswer


def ranked(count, ttl_s=60.0):
    nodes = tuple(
        RankedNode(
            node_id=f"n{i}", url="http://x", label="", place=None, distance_km=None, rtt_ms=10.0 * i, score_s=float(i),
            terms_s={}, version="1",
        )
        for i in range(count)
    )  # fmt: skip
    return RouteAnswer(model="chat", nodes=nodes, ttl_s=ttl_s, place=None, place_source="none")


def known(count, now_s=0.0, ttl_s=60.0):
    nearest = Nearest()
    nearest.learn("chat", ranked(count, ttl_s), now_s)
    return nearest


def chosen(nearest, now_s, tried=()):
    node = nearest.next_node("chat", now_s, tried)
    return node.node_id if node else None


def test_the_origins_order_is_kept_and_tried_nodes_are_left_out():
    nearest = known(3)
    assert chosen(nearest, 0) == "n0"
    assert chosen(nearest, 0, {"n0"}) == "n1"
    assert chosen(nearest, 0, {"n0", "n1", "n2"}) is None
    assert chosen(Nearest(), 0) is None


def test_a_failing_node_is_set_aside_for_longer_each_time():
    nearest = known(3)
    nearest.failed("chat", "n0", 100.0)
    assert chosen(nearest, 109.9) == "n1"
    assert chosen(nearest, 110.1) == "n0"
    nearest.failed("chat", "n0", 110.1)
    assert chosen(nearest, 130.0) == "n1"
    assert chosen(nearest, 130.2) == "n0"
    nearest.succeeded("n0")
    nearest.failed("chat", "n0", 200.0)
    assert chosen(nearest, 210.1) == "n0"


def test_a_node_set_aside_is_still_the_last_resort():
    nearest = known(2)
    nearest.failed("chat", "n0", 0.0)
    assert chosen(nearest, 1, {"n1"}) == "n0"


def test_a_long_run_of_failures_sets_aside_for_two_minutes_at_most():
    nearest = known(3)
    for _ in range(50):
        nearest.failed("chat", "n0", 0.0)
    assert chosen(nearest, 119.9) == "n1"
    assert chosen(nearest, 120.1) == "n0"


@pytest.mark.parametrize(
    ("nodes", "allowed"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (6, 2), (16, 5), (100, 34)]
)
def test_how_many_may_be_set_aside(nodes, allowed):
    assert ejections_allowed_count(nodes) == allowed


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.floats(0, 300), st.booleans())))
def test_never_all_nor_more_than_a_third_are_set_aside(count, events):
    nearest = known(count)
    now_s = 0.0
    for index, step_s, good in events:
        now_s += step_s
        node = f"n{index % count}"
        if good:
            nearest.succeeded(node)
        else:
            nearest.failed("chat", node, now_s)
        ejected = nearest.ejected("chat", now_s)
        assert len(ejected) <= max(1, 0.34 * count)
        assert len(ejected) < count
        assert chosen(nearest, now_s) not in ejected
    assert not nearest.ejected("chat", now_s + 121)


@given(st.integers(1, 12), st.data())
def test_every_node_is_offered_once(count, data):
    nearest = known(count)
    for index in data.draw(st.lists(st.integers(0, count - 1))):
        nearest.failed("chat", f"n{index}", 0.0)
    tried = []
    while (node := chosen(nearest, 1.0, tried)) is not None:
        tried.append(node)
    assert sorted(tried) == sorted(f"n{i}" for i in range(count))


def test_a_list_ages():
    nearest = known(1, now_s=10.0, ttl_s=60.0)
    assert nearest.freshness("chat", 70.0) == "fresh"
    assert nearest.freshness("chat", 70.1) == "ageing"
    assert nearest.freshness("chat", 190.1) == "stale"
    assert nearest.freshness("other", 0.0) == "absent"
    assert nearest.age_s("chat", 70.0) == 60.0
    nearest.expire("chat")
    nearest.expire("other")
    assert nearest.freshness("chat", 10.0) == "stale"
    assert chosen(nearest, 10.0) == "n0"


def test_a_new_list_keeps_the_failures_of_its_nodes_only():
    nearest = known(6)
    nearest.failed("chat", "n0", 0.0)
    nearest.failed("chat", "n5", 0.0)
    nearest.learn("chat", ranked(3), 1.0)
    assert nearest.ejected("chat", 2.0) == {"n0"}
    nearest.learn("chat", ranked(6), 3.0)
    assert nearest.ejected("chat", 4.0) == {"n0"}


@pytest.mark.parametrize(("rtt_ms", "expected_s"), [(None, 1.0), (0.1, 0.15), (100.0, 0.3), (5000.0, 1.0)])
def test_the_connection_timeout_follows_the_round_trip(rtt_ms, expected_s):
    assert connect_timeout_s(rtt_ms) == pytest.approx(expected_s)


@pytest.mark.parametrize(("active", "allowed"), [(1, 3), (39, 3), (40, 4), (100, 10)])
def test_retries_are_a_tenth_of_the_active_requests(active, allowed):
    budget = RetryBudget()
    for _ in range(active):
        budget.begin()
    assert [budget.take_retry() for _ in range(allowed + 1)] == [True] * allowed + [False]
    budget.end(retried=True)
    assert (budget.active_count, budget.retrying_count) == (active - 1, allowed - 1)
