"""What is remembered of probes."""

from __future__ import annotations

from edge_node.client.round_trips import RoundTrips
from origin.api import ProbedRtt
from tests.edge_node.client.ranked import ranked


def test_a_node_is_probed_every_thirty_seconds_at_most():
    trips, nodes = RoundTrips(), ranked(2).nodes
    assert [node.node_id for node in trips.due(nodes, 0.0)] == ["n0", "n1"]
    assert trips.due(nodes, 29.9) == []
    assert len(trips.due(nodes, 30.0)) == 2


def test_the_least_of_the_last_three_rounds_counts():
    trips = RoundTrips()
    assert trips.rtt_ms("n", 0.0) is None
    for at_s, rtt_ms in enumerate([5.0, 50.0, 20.0]):
        trips.learn("n", rtt_ms, 2, float(at_s))
    assert trips.rtt_ms("n", 3.0) == 5.0
    trips.learn("n", 30.0, 2, 3.0)
    assert trips.rtt_ms("n", 3.0) == 20.0
    assert trips.rtt_ms("n", 602.5) == 30.0
    assert trips.rtt_ms("n", 604.0) is None


def test_whether_probes_are_blocked():
    trips = RoundTrips()
    trips.due(ranked(1).nodes, 0.0)
    assert not trips.probes_work(0.0)
    trips.learn("n0", 5.0, 2, 1.0)
    assert trips.probes_work(600.0)
    assert not trips.probes_work(602.0)
    trips.forget_all_but(())
    assert not trips.probes_work(600.0)


def test_the_origin_is_told_once():
    trips = RoundTrips()
    trips.learn("n", 9.0, 2, 0.0)
    trips.learn("n", 7.5, 2, 1.0)
    assert trips.take_report(3.0) == (ProbedRtt(node_id="n", rtt_ms=7.5, count=2, age_s=2.0),)
    assert trips.take_report(4.0) == ()
    for number in range(20):
        trips.learn(f"n{number}", 1.0, 1, 5.0)
    assert [len(trips.take_report(6.0)) for _ in range(3)] == [16, 4, 0]
