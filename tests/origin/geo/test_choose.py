"""The choice: who is a candidate, who is first, and what is said when there is none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport, Place
from origin.errors import ModelUnknownError, NoNodeAvailableError
from origin.fleet import Fleet, FleetRules
from origin.geo.choose import Ask, choose, parse_model
from origin.geo.client_spot import NOWHERE, ClientSpot
from registry.errors import InputInvalidError

NEAR_PARIS = Place(48.7, 2.4)
IN_OSAKA = Place(34.69, 135.5)


def ask(text="chat", *, place=None, **fields):
    reference, bare = parse_model(text)
    spot = ClientSpot(place=place, place_source="stated") if place is not None else NOWHERE
    return Ask(reference, any_channel=bare, spot=spot, **fields)


def ids(decision):
    return [ranked.node_id for ranked in decision.nodes]


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


class TestNobody:
    def test_a_model_that_nobody_knows_is_404_with_near_names(self, fleet, node, catalog):
        view = fleet(node("paris")).view(0.0)
        with pytest.raises(ModelUnknownError, match=r"no model chta; did you mean chat\?") as caught:
            choose(view, ask("chta"), catalog(("chat", "1.0"), ("embed", "1.0")))
        assert caught.value.param == "model"

    def test_a_far_name_lists_what_there_is(self, fleet, catalog):
        with pytest.raises(ModelUnknownError, match="there is chat, embed"):
            choose(fleet().view(0.0), ask("zzz"), catalog(("chat", "1.0"), ("embed", "1.0")))
        with pytest.raises(ModelUnknownError, match="nothing has been published yet"):
            choose(fleet().view(0.0), ask("zzz"), catalog())

    def test_unknown_versions_and_channels_are_named(self, fleet, catalog):
        known = catalog(("chat", "1.0"), channels={"chat": {"stable": "1.0"}})
        with pytest.raises(ModelUnknownError, match=r"chat has no version 9\.0; did you mean 1\.0\?"):
            choose(fleet().view(0.0), ask("chat@9.0"), known)
        with pytest.raises(ModelUnknownError, match=r"chat is on no channel stabel; did you mean stable\?"):
            choose(fleet().view(0.0), ask("chat:stabel"), known)

    def test_known_and_nobody_there(self, fleet, catalog):
        with pytest.raises(NoNodeAvailableError, match="no node has reported") as caught:
            choose(fleet().view(0.0), ask(), catalog(("chat", "1.0"), channels={"chat": {"stable": "1.0"}}))
        assert caught.value.retry_after_s == 2.0

    def test_without_a_catalog_nothing_is_called_unknown(self, fleet):
        with pytest.raises(NoNodeAvailableError, match="cannot read the catalog"):
            choose(fleet().view(0.0), ask("anything"), None)

    def test_what_each_node_is_doing(self, fleet, node, model, catalog):
        view = fleet(
            node("a", models=[model(state="fetching", fetched_bytes=42, fetch_total_bytes=100)]),
            node("b", models=[model(state="failed", detail="out of memory")]),
            node("c", draining=True),
            node("d"),
            node("e", models=[model(state="on_disk")]),
        ).view(0.0)
        with pytest.raises(NoNodeAvailableError) as caught:
            choose(view, ask(exclude=frozenset({"d"})), catalog(("chat", "1.0")))
        for words in (
            "a is fetching 1.0 (42 %)",
            "b could not load 1.0 (out of memory)",
            "c is draining",
            "d was excluded by the client",
            "e has 1.0 on disk",
        ):
            assert words in caught.value.message

    def test_the_wait_follows_the_fetch(self, fleet, node, model, catalog):
        def fetching(done):
            return node("a", models=[model(state="fetching", fetched_bytes=done, fetch_total_bytes=1000)])

        known = fleet(fetching(0))
        known.accept(fetching(100), 2.0)
        with pytest.raises(NoNodeAvailableError) as caught:
            choose(known.view(2.0), ask(), catalog(("chat", "1.0")))
        assert caught.value.retry_after_s == pytest.approx(18.0)

    def test_the_wait_follows_the_load_and_is_never_under_a_second(self, fleet, node, model, catalog):
        known = fleet(node("a", models=[model(state="loading", load_s=8.0)]))
        for now_s, wait_s in ((0.0, 8.0), (2.0, 6.0), (2.9, 5.1)):
            with pytest.raises(NoNodeAvailableError) as caught:
                choose(known.view(now_s), ask(), catalog(("chat", "1.0")))
            assert caught.value.retry_after_s == pytest.approx(wait_s)


@pytest.mark.parametrize("text", ["", "../etc", "Chat", "chat@", "chat:", "a/b/c"])
def test_what_is_no_model_name_is_refused_as_the_field_model(text):
    with pytest.raises(InputInvalidError) as caught:
        parse_model(text)
    assert caught.value.param == "model"


loads = st.fixed_dictionaries(
    {
        "busy": st.integers(0, 50),
        "queued": st.integers(0, 50),
        "slots": st.integers(0, 8),
        "service_s": st.none() | st.floats(0, 60),
        "prefill_tokens_per_s": st.none() | st.floats(0, 1e5),
    }
)
places = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))


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
