"""The choice: who is a candidate, and who is first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport, Place
from origin.errors import NoNodeAvailableError
from origin.fleet import Fleet, FleetRules
from origin.geo.choose import choose, parse_model
from registry.errors import InputInvalidError
from tests.origin.geo.asking import NEAR_PARIS, ask, ids, loads, places

IN_OSAKA = Place(34.69, 135.5)


class TestNearest:
    def test_each_client_gets_its_nearest_node(self, fleet, node, cities):
        view = fleet(*(node(name, place) for name, place in cities.items())).view(0.0)
        assert ids(choose(view, ask(place=IN_OSAKA), None))[0] == "tokyo"
        decision = choose(view, ask(place=NEAR_PARIS), None)
        assert ids(decision) == ["paris", "london", "tokyo"]
        assert decision.reason == "nearest"

    def test_the_score_is_the_sum_of_its_terms(self, fleet, node, cities):
        view = fleet(node("london", cities["london"])).view(0.0)
        (london,) = choose(view, ask(place=NEAR_PARIS, prompt_tokens=500), None).nodes
        assert london.score_s == sum(london.terms_s.values())
        assert london.distance_km == pytest.approx(360, abs=10)
        assert london.rtt_ms == pytest.approx(24 + 0.0167 * london.distance_km)
        assert london.terms_s == {
            "network": pytest.approx(2 * london.rtt_ms / 1000),
            "queue": 0,
            "prefill": 0.5,
            "load": 0,
            "age": 0,
            "failure": 0,
        }

    def test_a_sleeping_release_costs_its_load_and_is_better_than_none(self, fleet, node, model, cities):
        asleep = [model(state="asleep", slots=4, load_s=2.0)]
        far_and_ready = node("tokyo", cities["tokyo"])
        view = fleet(node("paris", cities["paris"], asleep), far_and_ready).view(0.0)
        decision = choose(view, ask(place=NEAR_PARIS), None)
        assert ids(decision) == ["tokyo", "paris"]
        assert decision.nodes[1].terms_s["load"] == 6.0
        upsets = [model(state="asleep", slots=4, load_s=2.0, room_s=7.0, displaced_count=1.5)]
        view = fleet(node("paris", cities["paris"], upsets), far_and_ready).view(0.0)
        assert choose(view, ask(place=NEAR_PARIS), None).nodes[1].terms_s["load"] == 7.0 + 3.5 * (2.0 + 1.0)
        alone = fleet(node("paris", cities["paris"], asleep)).view(0.0)
        assert ids(choose(alone, ask(place=NEAR_PARIS), None)) == ["paris"]

    def test_tls_costs_one_round_trip_more(self, fleet, node, cities):
        import msgspec

        report = node("london", cities["london"])
        secure = msgspec.structs.replace(report, url="https://london.example")
        terms = [
            choose(fleet(r).view(0.0), ask(place=NEAR_PARIS), None).nodes[0].terms_s["network"]
            for r in (report, secure)
        ]
        assert terms[1] == pytest.approx(terms[0] * 1.5)

    def test_without_a_place_load_alone_counts(self, fleet, node, model, cities):
        busy = [model(busy=9, queued=9)]
        view = fleet(node("paris", cities["paris"], busy), node("tokyo", cities["tokyo"])).view(0.0)
        decision = choose(view, ask(), None)
        assert ids(decision) == ["tokyo", "paris"]
        assert decision.reason == "no_place"
        assert decision.nodes[0].distance_km is None
        assert decision.nodes[0].terms_s["network"] == 0

    def test_a_node_that_does_not_say_where_it_is_counts_as_far(self, fleet, node, cities):
        view = fleet(node("somewhere"), node("paris", cities["paris"]), node("tokyo", cities["tokyo"])).view(
            0.0
        )
        assert ids(choose(view, ask(place=NEAR_PARIS), None))[0] == "paris"


class TestCandidates:
    def test_draining_down_excluded_and_unready_nodes_do_not_answer(self, fleet, node, model):
        known = fleet(node("gone"), heard_s=0.0)
        for report in (
            node("leaving", draining=True),
            node("fetching", models=[model(state="fetching")]),
            node("failed", models=[model(state="failed")]),
            node("other", models=[model("embed")]),
            node("bad"),
            node("good"),
        ):
            known.accept(report, 10.0)
        decision = choose(known.view(10.0), ask(exclude=frozenset({"bad"})), None)
        assert ids(decision) == ["good"]

    def test_a_suspect_answers_after_those_that_are_up(self, fleet, node):
        known = fleet(node("silent"), heard_s=0.0)
        known.accept(node("lively"), 2.5)
        decision = choose(known.view(2.5), ask(), None)
        assert ids(decision) == ["lively", "silent"]
        assert decision.nodes[1].terms_s["age"] == pytest.approx(1.5)

    def test_a_version_is_taken_from_any_channel(self, fleet, node, model):
        view = fleet(node("old"), node("new", models=[model(version="2.0")], channel="canary")).view(0.0)
        assert ids(choose(view, ask("chat@2.0"), None)) == ["new"]

    def test_a_channel_means_the_nodes_on_that_channel(self, fleet, node, model):
        view = fleet(node("old"), node("new", models=[model(version="2.0")], channel="canary")).view(0.0)
        assert ids(choose(view, ask("chat:canary"), None)) == ["new"]
        assert ids(choose(view, ask("chat:stable"), None)) == ["old"]
        assert ids(choose(view, ask("chat"), None)) == ["old"]

    def test_a_bare_name_is_answered_by_any_channel_when_no_stable_node_can(self, fleet, node, model):
        view = fleet(
            node("old", models=[model(state="loading")]),
            node("new", models=[model(version="2.0")], channel="canary"),
        ).view(0.0)
        assert ids(choose(view, ask("chat"), None)) == ["new", "old"]
        with pytest.raises(NoNodeAvailableError):
            choose(view, ask("chat:stable"), None)

    def test_of_two_ready_releases_the_one_that_the_channel_points_at(self, fleet, node, model, catalog):
        view = fleet(node("both", models=[model(version="1.0"), model(version="2.0")])).view(0.0)
        releases = (("chat", "1.0"), ("chat", "2.0"))
        for version in ("1.0", "2.0"):
            answer = choose(view, ask(), catalog(*releases, channels={"chat": {"stable": version}}))
            assert answer.nodes[0].version == version

    def test_while_the_new_release_loads_the_old_one_answers(self, fleet, node, model, catalog):
        view = fleet(node("swap", models=[model(version="1.0"), model(version="2.0", state="loading")])).view(
            0.0
        )
        known = catalog(("chat", "1.0"), ("chat", "2.0"), channels={"chat": {"stable": "2.0"}})
        assert choose(view, ask(), known).nodes[0].version == "1.0"

    def test_the_list_is_as_long_as_asked_for(self, fleet, node):
        view = fleet(*(node(f"n{i}") for i in range(6))).view(0.0)
        assert len(choose(view, ask(limit=3), None).nodes) == 3


class TestSpread:
    def test_equals_share_sessions_and_a_session_stays(self, fleet, node):
        view = fleet(*(node(f"n{i}") for i in range(4))).view(0.0)
        firsts = [ids(choose(view, ask(session=f"user{i}"), None))[0] for i in range(400)]
        again = [ids(choose(view, ask(session=f"user{i}"), None))[0] for i in range(400)]
        assert firsts == again
        for i in range(4):
            assert 60 <= firsts.count(f"n{i}") <= 140

    def test_losing_a_node_moves_only_its_sessions(self, fleet, node):
        reports = [node(f"n{i}") for i in range(4)]
        whole, less = fleet(*reports).view(0.0), fleet(*reports[:3]).view(0.0)
        for i in range(200):
            first = ids(choose(whole, ask(session=f"user{i}"), None))[0]
            if first != "n3":
                assert ids(choose(less, ask(session=f"user{i}"), None))[0] == first

    def test_a_node_that_is_clearly_worse_gets_none(self, fleet, node, cities):
        view = fleet(node("paris", cities["paris"]), node("london", cities["london"])).view(0.0)
        firsts = {ids(choose(view, ask(place=NEAR_PARIS, session=str(i)), None))[0] for i in range(50)}
        assert firsts == {"paris"}


@pytest.mark.parametrize("text", ["", "../etc", "Chat", "chat@", "chat:", "a/b/c"])
def test_what_is_no_model_name_is_refused_as_the_field_model(text):
    with pytest.raises(InputInvalidError) as caught:
        parse_model(text)
    assert caught.value.param == "model"


@settings(max_examples=40)
@given(
    fleet_places=st.lists(places, min_size=1, max_size=6),
    client=places,
    session=st.text(max_size=8),
    data=st.data(),
)
def test_the_same_inputs_in_any_order_give_the_same_list(fleet_places, client, session, data):
    reports = [
        NodeReport(
            node_id=f"n{i}",
            incarnation=1,
            url="http://n.example",
            place=place,
            models=(ModelReport(name="chat", version="1.0", state="ready", **data.draw(loads)),),
        )
        for i, place in enumerate(fleet_places)
    ]
    lists = []
    for order in (reports, data.draw(st.permutations(reports))):
        fleet = Fleet(FleetRules())
        for report in order:
            fleet.accept(report, 0.0)
        lists.append(choose(fleet.view(0.0), ask(place=client, session=session), None))
    assert lists[0] == lists[1]
    assert len(lists[0].nodes) == min(4, len(reports))
