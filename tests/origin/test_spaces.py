"""Spaces of vectors: at one moment everybody gets the same one, whatever comes, goes and reports."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport
from origin.errors import ModelUnknownError, NoNodeAvailableError
from origin.fleet import Fleet, FleetRules
from origin.geo.choose import Ask, choose, parse_model
from registry.errors import InputInvalidError


def report(node_id, *models, number=1, channel="stable"):
    return NodeReport(
        node_id=node_id, incarnation=1, number=number, url=f"http://{node_id}.example:1", channel=channel,
        models=tuple(
            ModelReport(name="embed", version=version, state=state, slots=4, service_s=1.0, space_id=space)
            for version, space, state in models
        ),
    )  # fmt: skip


def fleet_of(*reports):
    fleet = Fleet(FleetRules())
    for it in reports:
        fleet.accept(it, 0.0)
    return fleet


def asked(fleet, text="embed", now_s=0.0, **more):
    reference, bare = parse_model(text)
    decision = choose(fleet.view(now_s), Ask(reference, any_channel=bare, limit=16, **more), None)
    return {it.node_id for it in decision.nodes}, decision.space_id


def test_with_one_space_everybody_answers():
    fleet = fleet_of(report("a", ("1", "x", "ready")), report("b", ("1", "x", "asleep")))
    assert asked(fleet) == ({"a", "b"}, "x")
    assert asked(fleet, "embed#x") == ({"a", "b"}, "x")


def test_a_list_never_mixes_two_spaces():
    fleet = fleet_of(
        report("a", ("1", "x", "ready")), report("b", ("1", "x", "ready")), report("c", ("2", "y", "ready"))
    )
    assert asked(fleet) == ({"a", "b"}, "x")
    assert asked(fleet, "embed#y") == ({"c"}, "y")
    assert asked(fleet, "embed#x", exclude=frozenset({"a"})) == ({"b"}, "x")
    assert asked(fleet, "embed@2") == ({"c"}, "y")


def test_a_node_that_only_loads_another_space_is_not_listed():
    fleet = fleet_of(report("a", ("1", "x", "ready")), report("b", ("2", "y", "loading")))
    assert asked(fleet) == ({"a"}, "x")


def test_the_space_of_most_takes_over():
    fleet = fleet_of(*(report(name, ("1", "x", "ready")) for name in "abc"))
    for number, name in enumerate("abc"):
        fleet.accept(report(name, ("1", "x", "ready"), ("2", "y", "ready"), number=2), number + 1.0)
        fleet.accept(report(name, ("2", "y", "ready"), number=3), number + 1.0)
        expected = (
            ({"a", "b", "c"} - set("abc"[: number + 1]), "x")
            if number == 0
            else (set("abc"[: number + 1]), "y")
        )
        assert asked(fleet, now_s=number + 1.5) == expected


def test_what_is_sent_counts_in_each_space():
    fleet = fleet_of(
        report("a", ("1", "x", "ready")), report("b", ("1", "x", "ready")), report("c", ("2", "y", "ready"))
    )
    for _ in range(8):
        fleet.note_routed("a", ("embed", "1"), 0.0)
    reference, bare = parse_model("embed")
    nodes = choose(fleet.view(0.0), Ask(reference, any_channel=bare), None).nodes
    assert [it.node_id for it in nodes] == ["b", "a"]
    assert nodes[1].terms_s["queue"] > 0


def test_releases_that_say_nothing_are_one_more_space():
    fleet = fleet_of(
        report("a", ("1", "", "ready")), report("b", ("1", "", "ready")), report("c", ("2", "y", "ready"))
    )
    assert asked(fleet) == ({"a", "b"}, "")
    assert asked(fleet, "embed#y") == ({"c"}, "y")
    fleet.accept(report("b", ("2", "y", "ready"), number=2), 1.0)
    assert asked(fleet, now_s=2.0) == ({"b", "c"}, "y")


def test_variants_of_one_version_in_two_spaces_do_not_mix():
    fleet = fleet_of(
        report("a", ("1", "x", "ready")),
        report("b", ("1", "x", "ready")),
        report("c", ("1", "tiny", "ready")),
    )
    assert asked(fleet, "embed@1") == ({"a", "b"}, "x")
    assert asked(fleet, "embed@1#tiny") == ({"c"}, "tiny")


def test_a_space_that_nobody_has_is_refused_with_what_there_is():
    fleet = fleet_of(report("a", ("1", "x", "ready")))
    with pytest.raises(NoNodeAvailableError, match=r"embed#z now: a gives vectors of another space \(x\)"):
        asked(fleet, "embed#z")
    with pytest.raises(NoNodeAvailableError, match=r"embed:stable#z"):
        asked(fleet, "embed:stable#z")
    with pytest.raises((ModelUnknownError, NoNodeAvailableError)):
        asked(fleet, "other#z")
    for wrong in ("embed#", "embed#a b", "embed#" + "x" * 65, "embed##x", "#x"):
        with pytest.raises(InputInvalidError):
            parse_model(wrong)


def test_channels_have_spaces_of_their_own():
    fleet = fleet_of(
        report("a", ("1", "x", "ready")),
        report("b", ("2", "y", "ready"), channel="canary"),
        report("c", ("2", "y", "ready"), channel="canary"),
    )
    assert asked(fleet) == ({"a"}, "x")
    assert asked(fleet, "embed:canary") == ({"b", "c"}, "y")


def test_standings_tell_of_each_release_once():
    fleet = fleet_of(report("a", ("1", "x", "ready")))
    fleet.note_routed("a", ("embed", "1"), 0.0)
    (standing,) = fleet.view(0.0).standings
    assert set(standing.watches) == {("embed", "1")}


STATES = st.sampled_from(["ready", "asleep", "loading", "failed"])
RELEASES = st.lists(st.tuples(st.sampled_from("12"), st.sampled_from(["", "x", "y"]), STATES), max_size=2)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("abcd"), RELEASES), max_size=24))
def test_whatever_is_reported_no_list_mixes(beats):
    fleet = Fleet(FleetRules())
    spaces = {}
    for number, (name, releases) in enumerate(beats, 1):
        once = list({version: (version, space, state) for version, space, state in releases}.values())
        fleet.accept(report(name, *once, number=number), number * 0.3)
        spaces[name] = {(version, space) for version, space, _ in once}
        for text in ("embed", "embed@1", "embed:stable", "embed#x"):
            reference, bare = parse_model(text)
            try:
                decision = choose(fleet.view(number * 0.3), Ask(reference, any_channel=bare, limit=16), None)
            except (ModelUnknownError, NoNodeAvailableError):
                continue
            listed = {next(s for v, s in spaces[it.node_id] if v == it.version) for it in decision.nodes}
            assert listed == {decision.space_id}
    while spaces:
        name, _ = spaces.popitem()
        fleet.accept(report(name, number=1000), 1000.0)
    assert fleet._pools == {}
    assert fleet._spaces._there == {}
