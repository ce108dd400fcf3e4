"""The choice of a node under a virtual clock."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edge_node.client.call import Journey
from edge_node.client.ejection import Ejections
from edge_node.client.nearest import BUSY_MOST_S, Nearest, by_measured_score, measured_score_s
from origin.tickets import OnTheWay, split_way
from tests.edge_node.client.ranked import ranked, ranked_list, ranked_node


def known(count, now_s=0.0, ttl_s=60.0):
    nearest = Nearest(Ejections(lambda: 0.0))
    nearest.learn("chat", ranked(count, ttl_s), now_s)
    return nearest


def chosen(nearest, now_s, tried=()):
    node = nearest.next_node("chat", now_s, tried)
    return node.node_id if node else None


def eject(nearest, node, now_s):
    for _ in range(3):
        nearest.ejections.failed(node, nearest.lists.known(), now_s)


def names(nodes):
    return "".join(node.node_id for node in nodes)


def test_the_origins_order_is_kept_and_tried_nodes_are_left_out():
    nearest = known(3)
    assert chosen(nearest, 0) == "n0"
    assert chosen(nearest, 0, {"n0"}) == "n1"
    assert chosen(nearest, 0, {"n0", "n1", "n2"}) is None
    assert chosen(Nearest(Ejections(lambda: 0.0)), 0) is None


def test_a_node_set_aside_is_still_the_last_resort():
    nearest = known(2)
    eject(nearest, "n0", 0.0)
    assert chosen(nearest, 1) == "n1"
    assert chosen(nearest, 1, {"n1"}) == "n0"
    assert nearest.aside("chat", 1) == {"n0"}


def test_a_node_without_room_comes_later_but_before_one_that_fails():
    nearest = known(3)
    nearest.busy("n0", 0.0, 2.0)
    eject(nearest, "n1", 0.0)
    assert chosen(nearest, 1.0) == "n2"
    assert chosen(nearest, 1.0, {"n2"}) == "n0"
    assert chosen(nearest, 2.0) == "n0"
    nearest.busy("n0", 3.0, None)
    assert (chosen(nearest, 3.9), chosen(nearest, 4.0)) == ("n2", "n0")
    nearest.busy("n0", 5.0, 1e6)
    assert chosen(nearest, 5.0 + BUSY_MOST_S) == "n0"


def test_first_tries_pass_by_all_nodes_that_keep_failing_also_those_too_many_to_be_set_aside():
    nearest = known(4)
    for node in ("n0", "n1", "n2"):
        eject(nearest, node, 0.0)
    nearest.busy("n3", 0.0, 1.0)
    assert nearest.aside("chat", 0.0) == {"n0"}
    assert names(nearest.order("chat", 0.5)) == "n3n1n2n0"
    assert nearest.has_room(nearest.lists.known()["n1"], 0.5), "lists that leave it out need not keep it"
    assert not nearest.may_take_more(nearest.lists.known()["n1"], 0.5)
    assert chosen(nearest, 3.0) == "n1"


def test_a_second_try_goes_to_a_node_whose_last_answer_was_good():
    nearest = known(4)
    nearest.ejections.failed("n1", nearest.lists.known(), 0.0)
    assert chosen(nearest, 0.0) == "n0"
    assert chosen(nearest, 0.0, {"n0"}) == "n2"
    assert chosen(nearest, 0.0, {"n0", "n2", "n3"}) == "n1"
    assert nearest.may_take_more(nearest.lists.known()["n2"], 0.0)
    assert not nearest.may_take_more(nearest.lists.known()["n1"], 0.0)


def test_the_last_try_goes_to_the_node_that_answered_last():
    nearest = known(5)
    nearest.answered("n2", 1.0)
    nearest.answered("n4", 3.0)
    nearest.answered("n3", 2.0)
    nearest.ejections.failed("n4", nearest.lists.known(), 4.0)
    assert chosen(nearest, 5.0, {"n0"}) == "n1"
    assert names(nearest.order("chat", 5.0, {"n0", "n1"}, last=True)) == "n3n2n4"


@given(st.integers(1, 12), st.data())
def test_every_node_is_offered_once(count, data):
    nearest = known(count)
    for index in data.draw(st.lists(st.integers(0, count - 1))):
        nearest.ejections.failed(f"n{index}", nearest.lists.known(), 0.0)
    for index in data.draw(st.lists(st.integers(0, count - 1))):
        nearest.busy(f"n{index}", 0.0, 3.0)
    tried = []
    while (node := chosen(nearest, 1.0, tried)) is not None:
        tried.append(node)
    assert sorted(tried) == sorted(f"n{i}" for i in range(count))


def test_measured_round_trips_take_the_place_of_the_estimates():
    a = ranked_node("a", 0.300, 50.0, terms_s={"network": 0.150, "queue": 0.150})
    b = ranked_node("b", 0.320, 60.0, terms_s={"network": 0.180, "queue": 0.140})
    assert measured_score_s(a, None) == 0.300
    assert measured_score_s(a, 20.0) == pytest.approx(0.170)
    assert names(by_measured_score([a, b], [None, None])) == "ab"
    assert names(by_measured_score([a, b], [90.0, 10.0])) == "ba"
    assert names(by_measured_score([a, b], [10.0, 90.0])) == "ab"


def test_within_the_noise_the_origins_order_stands():
    a, b = ranked_node("a", 0.030, 10.0), ranked_node("b", 0.030, 10.0)
    assert names(by_measured_score([a, b], [11.0, 10.0])) == "ab"
    assert names(by_measured_score([a, b], [14.0, 10.0])) == "ba"


def test_nodes_that_still_load_stay_behind():
    ready, slow = ranked_node("r", 0.100), ranked_node("s", 0.900)
    loading, later = ranked_node("l", 0.050), ranked_node("m", 0.060)
    assert names(by_measured_score([ready, slow, loading, later], [10.0, 10.0, 10.0, 1.0])) == "rslm"
    # Equals in an order that is not that of their scores are no sign of a second part.
    first, second = ranked_node("a", 0.108), ranked_node("b", 0.100)
    assert names(by_measured_score([first, second, slow], [10.0, 5.0, 1.0])) == "bas"


def test_a_probe_that_never_came_back_does_not_beat_one_that_did():
    near, dead = ranked_node("near", 0.060, 30.0), ranked_node("dead", 0.050, 20.0)
    assert names(by_measured_score([dead, near], [None, 20.0])) == "deadnear"
    assert names(by_measured_score([dead, near], [None, 5.0])) == "neardead"


@given(
    st.lists(st.tuples(st.floats(0.001, 2), st.floats(0.1, 300), st.none() | st.floats(0.1, 300)), max_size=8)
)
def test_the_order_is_a_permutation_and_no_better_node_waits_behind_the_first(rows):
    nodes = [
        ranked_node(str(i), other_s + rtt_ms / 1000, rtt_ms) for i, (other_s, rtt_ms, _) in enumerate(rows)
    ]
    nodes.sort(key=lambda node: node.score_s)
    measured = [rows[int(node.node_id)][2] for node in nodes]
    found = by_measured_score(nodes, measured)
    assert sorted(names(found)) == sorted(names(nodes))
    if found:
        score_s = {
            node.node_id: measured_score_s(node, rtt) for node, rtt in zip(nodes, measured, strict=True)
        }
        least_s = min(score_s.values())
        assert score_s[found[0].node_id] <= least_s + max(0.002, 0.05 * least_s) + 1e-9 or all(
            rtt is None for rtt in measured
        )


def test_a_new_list_keeps_what_is_known_of_its_nodes_only():
    nearest = known(6)
    eject(nearest, "n0", 0.0)
    eject(nearest, "n5", 0.0)
    nearest.busy("n1", 0.0, 9.0)
    nearest.round_trips.learn("n1", 5.0, 2, 0.0)
    nearest.round_trips.learn("n4", 5.0, 2, 0.0)
    nearest.learn("chat", ranked_list(ranked_node("n1", 1.0)), 1.0)
    # Set aside here, left out by the origin because it was told so: they stay known.
    assert [node.node_id for node in nearest.lists.nodes("chat")] == ["n0", "n1", "n5"]
    assert nearest.aside("chat", 2.0) == {"n0", "n5"}
    assert nearest.round_trips.rtt_ms("n1", 1.0) == 5.0
    assert nearest.round_trips.rtt_ms("n4", 1.0) is None
    nearest.learn("chat", ranked_list(ranked_node("n1", 1.0)), 20.0)
    assert [node.node_id for node in nearest.lists.nodes("chat")] == ["n1"]


def test_the_time_for_a_connection_follows_what_is_known():
    nearest = known(1)
    node = nearest.lists.nodes("chat")[0]
    assert nearest.connect_s(node, 0.0) == 0.5  # an estimate of 10 ms may be wrong
    nearest.round_trips.learn("n0", 100.0, 2, 0.0)
    assert nearest.connect_s(node, 0.0) == pytest.approx(0.3)
    assert nearest.predicted_s(node, 0.0) == pytest.approx(0.1)
    assert nearest.connect_s(ranked_node("unknown", rtt_ms=0.0), 0.0) == 1.0


def test_what_a_client_has_under_way_counts_by_the_nodes_own_measure():
    nearest = Nearest(Ejections(lambda: 0.0))
    a, b = ranked_node("a", 0.3, each_s=0.5), ranked_node("b", 0.7, each_s=0.1)
    nearest.learn("chat", ranked_list(a, b), 0.0)
    journeys = [Journey(a), Journey(a)]
    assert chosen(nearest, 0.0) == "a"
    nearest.set_out(journeys[0])
    assert (chosen(nearest, 0.0), nearest.predicted_s(a, 0.0)) == ("b", pytest.approx(0.8))
    assert nearest.predicted_s(a, 0.0, journeys[0]) == pytest.approx(0.3), "it does not wait for itself"
    journeys[0].node = b  # handed on
    assert (chosen(nearest, 0.0), nearest.predicted_s(b, 0.0)) == ("a", pytest.approx(0.8))
    nearest.set_out(journeys[1])
    nearest.came_back(journeys[1])
    nearest.came_back(journeys[1])
    assert chosen(nearest, 0.0) == "a"


def test_a_request_that_was_forgotten_is_not_under_way():
    nearest = Nearest(Ejections(lambda: 0.0))
    a = ranked_node("a", each_s=9.0)
    nearest.learn("chat", ranked_list(a, ranked_node("b", 0.7)), 0.0)
    journey = Journey(a)
    nearest.set_out(journey)
    assert chosen(nearest, 0.0) == "b"
    del journey
    gc.collect()
    assert chosen(nearest, 0.0) == "a"


def test_what_a_list_says_of_queues_is_forgotten_within_seconds():
    nearest = Nearest(Ejections(lambda: 0.0))
    full = ranked_node("a", 9.0, terms_s={"network": 0.01, "queue": 8.9})
    nearest.learn("chat", ranked_list(ranked_node("b", 0.5, each_s=0.7), full), 0.0)
    journey = Journey(nearest.lists.known()["b"])
    nearest.set_out(journey)
    assert chosen(nearest, 0.0) == "b"
    assert chosen(nearest, 30.0) == "a"


def test_a_ticket_marks_where_its_client_has_requests_already():
    nearest = Nearest(Ejections(lambda: 0.0))
    nodes = [ranked_node(name, 0.1) for name in "abcd"]
    nearest.learn("chat", structs.replace(ranked_list(*nodes), ticket="signed"), 0.0)
    assert nearest.ticket("chat", nodes[0], 1.0) == "signed"
    journeys = [Journey(node) for node in (nodes[0], nodes[2])]
    for journey in journeys:
        nearest.set_out(journey)
    nearest.busy("d", 1.0, 5.0)
    assert nearest.ticket("chat", nodes[0], 1.0) == "signed.~23"
    assert nearest.ticket("chat", nodes[1], 1.0) == "signed.~023"
    assert split_way("signed.~023") == ("signed", OnTheWay(passed_by=frozenset({0, 2, 3})))
    assert nearest.ticket("chat", nodes[0], 60.0) == "", "it has run out"
