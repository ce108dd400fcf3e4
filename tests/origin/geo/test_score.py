"""The score: what a node's load, its releases and its distance cost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport
from origin.fleet import Fleet, FleetRules
from origin.geo.choose import choose
from tests.origin.geo.asking import NEAR_PARIS, ask, ids, loads, places


class TestLoad:
    def test_a_full_near_node_loses_to_a_free_far_one(self, fleet, node, model, cities):
        full = [model(busy=4, queued=4)]
        view = fleet(node("paris", cities["paris"], full), node("tokyo", cities["tokyo"])).view(0.0)
        decision = choose(view, ask(place=NEAR_PARIS), None)
        assert ids(decision) == ["tokyo", "paris"]
        assert decision.reason == "load"

    def test_requests_sent_since_the_heartbeat_are_counted_in(self, fleet, node, model, cities):
        one_slot = [model(slots=1, service_s=2.0)]
        known = fleet(*(node(name, cities[name], one_slot) for name in ("paris", "tokyo")))
        known.note_routed("paris", ("chat", "1.0"), 0.0)
        assert ids(choose(known.view(0.5), ask(place=NEAR_PARIS), None))[0] == "tokyo"

    def test_a_request_sent_long_enough_ago_is_over(self, fleet, node, model, cities):
        quick = [model(slots=1, service_s=0.2)]
        known = fleet(*(node(name, cities[name], quick) for name in ("paris", "tokyo")))
        known.note_routed("paris", ("chat", "1.0"), 0.0)
        assert ids(choose(known.view(0.5), ask(place=NEAR_PARIS), None))[0] == "paris"

    def test_what_a_node_has_not_measured_is_taken_from_the_others(self, fleet, node, model):
        unmeasured = [model(service_s=None, prefill_tokens_per_s=None, queued=4)]
        view = fleet(node("a", models=unmeasured), node("b", models=[model(service_s=3.0)])).view(0.0)
        ranked = {n.node_id: n for n in choose(view, ask(prompt_tokens=100), None).nodes}
        assert ranked["a"].terms_s["queue"] == pytest.approx(3.0 / 4)
        assert ranked["a"].terms_s["prefill"] == ranked["b"].terms_s["prefill"] == pytest.approx(0.1)

    def test_a_node_that_was_nearly_full_costs_a_part_of_a_wait(self, fleet, node, model):
        def queue_s(**figures):
            view = fleet(node("a", models=[model(slots=8, **figures)])).view(0.0)
            return choose(view, ask(), None).nodes[0].terms_s["queue"]

        assert queue_s(busy=0) == 0
        nearly = [queue_s(busy=busy) for busy in (2, 5, 7)]
        assert 0 < nearly[0] < nearly[1] < nearly[2] < queue_s(busy=8)
        # One ahead and a deviation of the root of 8: 2.828 times (0.3536 N(0.3536) + n(0.3536)), over 8 slots.
        assert queue_s(busy=8) == pytest.approx((1 * 0.63818 + 2.82843 * 0.37477) / 8, abs=1e-4)
        assert queue_s(busy=8, service_s=100.0) / 100 < queue_s(busy=8), "less comes and goes in a heartbeat"
        assert queue_s(busy=8, queued=100) == pytest.approx(101 / 8)

    def test_what_those_at_work_still_read_is_waited_for(self, fleet, node, model, cities):
        reading = [model(slots=64, busy=1, unread_s=1.5, read_s=0.5)]
        known = fleet(node("paris", cities["paris"], reading), node("tokyo", cities["tokyo"]))

        def waits_s(now_s):
            decision = choose(known.view(now_s), ask(place=NEAR_PARIS), None)
            paris = next(it for it in decision.nodes if it.node_id == "paris")
            return decision.nodes[0].node_id, paris.terms_s["queue"], paris.terms_s["network"]

        first, queue_s, network_s = waits_s(0.0)
        assert first == "tokyo"
        assert queue_s == pytest.approx(1.5 - network_s), "it goes on while the request travels"
        assert waits_s(0.5)[1] == pytest.approx(1.0 - network_s)
        assert waits_s(1.499)[:2] == ("paris", 0.0)

    def test_what_was_sent_is_read_too_and_a_heartbeat_puts_it_right(self, fleet, node, model):
        def report(**figures):
            return node("a", models=[model(slots=64, read_s=0.5, **figures)])

        def queue_s(now_s):
            (only,) = choose(known.view(now_s), ask(), None).nodes
            assert only.each_s == pytest.approx(1.0 / 64)
            return only.terms_s["queue"]

        known = fleet(report())
        for _ in range(2):
            known.note_routed("a", ("chat", "1.0"), 1.0, travel_s=0.1)
        assert queue_s(1.0) == pytest.approx(1.1), "they arrive, and are read one after the other"
        assert queue_s(1.6) == pytest.approx(0.5)
        known.note_routed("a", ("chat", "1.0"), 1.6, travel_s=0.3)
        known.accept(report(busy=2, unread_s=0.2), 1.7)
        assert queue_s(1.7) == pytest.approx(0.2 + 0.5), "the third is on its way"

    def test_nodes_that_still_load_come_last(self, fleet, node, model, cities):
        loading = [model(state="loading", load_s=0.2)]
        full = [model(busy=40)]
        view = fleet(node("paris", cities["paris"], loading), node("tokyo", cities["tokyo"], full)).view(0.0)
        decision = choose(view, ask(place=NEAR_PARIS), None)
        assert ids(decision) == ["tokyo", "paris"]
        assert decision.nodes[1].terms_s["load"] == pytest.approx(0.2)


def one(load, where, **asked):
    model = ModelReport(name="chat", version="1.0", state="ready", **load)
    fleet = Fleet(FleetRules())
    fleet.accept(
        NodeReport(node_id="n", incarnation=1, url="http://n.example", place=where, models=(model,)), 0.0
    )
    return choose(fleet.view(0.0), ask(**asked), None).nodes[0]


@pytest.mark.parametrize("rate", [5e-324, 1e-310, 1e-300])
def test_a_rate_of_reading_next_to_nothing_makes_a_node_slow_and_not_unavailable(rate):
    load = {"slots": 4, "service_s": 1.0, "prefill_tokens_per_s": rate}
    slow = one(load, None, prompt_tokens=1000)
    assert slow.terms_s["prefill"] == 60.0 * 1000
    assert one(load, None).score_s == 0.0


@settings(max_examples=40)
@given(load=loads, place=places, client=places, more=st.integers(1, 20), tokens=st.integers(0, 10**6))
def test_more_ahead_or_a_longer_prompt_never_scores_better(load, place, client, more, tokens):
    plain = one(load, place, place=client, prompt_tokens=tokens).score_s
    for key in ("busy", "queued"):
        assert one(load | {key: load[key] + more}, place, place=client, prompt_tokens=tokens).score_s >= plain
    assert one(load, place, place=client, prompt_tokens=tokens + more).score_s >= plain


@settings(max_examples=40)
@given(load=loads, client=places, a=places, b=places)
def test_a_longer_round_trip_never_scores_better(load, client, a, b):
    nodes = (one(load, a, place=client), one(load, b, place=client))
    # Within the distance that counts as the same place, round trips are equal whatever the kilometres.
    first, second = sorted(nodes, key=lambda n: (n.rtt_ms, n.distance_km))
    assert first.score_s <= second.score_s
    assert first.distance_km <= second.distance_km
