"""Membership on a clock that the test moves."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport, Place
from origin.errors import FleetFullError, NodeSupersededError
from origin.fleet import Fleet, FleetRules


def heartbeat(node_id="paris", incarnation=1, draining=False, models=()):
    return NodeReport(
        node_id=node_id,
        incarnation=incarnation,
        url=f"http://{node_id}.example:1",
        draining=draining,
        models=models,
    )


def states(fleet, now_s):
    return {standing.report.node_id: standing.state for standing in fleet.view(now_s).standings}


def test_up_then_suspect_after_two_missed_then_down_after_three():
    fleet = Fleet(FleetRules(heartbeat_s=1.0))
    fleet.accept(heartbeat(), 100.0)
    assert [states(fleet, now)["paris"] for now in (100.0, 102.0, 102.1, 103.0, 103.1)] == [
        "up",
        "up",
        "suspect",
        "suspect",
        "down",
    ]


def test_a_heartbeat_brings_a_node_back():
    fleet = Fleet(FleetRules())
    fleet.accept(heartbeat(), 0.0)
    assert states(fleet, 50.0) == {"paris": "down"}
    fleet.accept(heartbeat(), 50.0)
    assert states(fleet, 50.5) == {"paris": "up"}


def test_draining_is_what_the_node_says_until_it_is_silent():
    fleet = Fleet(FleetRules())
    fleet.accept(heartbeat(draining=True), 0.0)
    assert states(fleet, 2.5) == {"paris": "draining"}
    assert states(fleet, 3.5) == {"paris": "down"}


def test_an_older_incarnation_is_refused_while_the_younger_lives():
    fleet = Fleet(FleetRules())
    fleet.accept(heartbeat(incarnation=7), 0.0)
    with pytest.raises(NodeSupersededError, match="node id paris"):
        fleet.accept(heartbeat(incarnation=6), 1.0)
    assert fleet.view(1.0).standings[0].report.incarnation == 7


def test_an_older_incarnation_counts_once_the_younger_is_down():
    """A machine whose clock went back at a reboot must not be locked out."""
    fleet = Fleet(FleetRules())
    fleet.accept(heartbeat(incarnation=7), 0.0)
    fleet.accept(heartbeat(incarnation=6), 3.5)
    assert fleet.view(3.5).standings[0].report.incarnation == 6


def test_a_silent_node_is_forgotten_after_a_long_time():
    fleet = Fleet(FleetRules(forget_after_s=60.0))
    fleet.accept(heartbeat(), 0.0)
    assert states(fleet, 60.0) == {"paris": "down"}
    assert states(fleet, 60.1) == {}


def test_what_was_routed_counts_until_the_next_heartbeat():
    fleet = Fleet(FleetRules())
    models = tuple(ModelReport(name=name, version="1", state="ready") for name in ("chat", "embed"))
    fleet.accept(heartbeat(models=models), 0.0)
    fleet.note_routed("paris", ("chat", "1"), 0.2)
    fleet.note_routed("paris", ("chat", "1"), 0.4)
    fleet.note_routed("paris", ("embed", "1"), 0.4)
    fleet.note_routed("nobody", ("chat", "1"), 0.4)
    (paris,) = fleet.view(0.5).standings
    assert {key: len(ages) for key, ages in paris.routed_age_s.items()} == {
        ("chat", "1"): 2,
        ("embed", "1"): 1,
    }
    assert paris.routed_age_s["chat", "1"] == pytest.approx((0.3, 0.1))
    fleet.accept(heartbeat(models=models), 1.0)
    assert fleet.view(1.0).standings[0].routed_age_s == {}


def test_a_watch_starts_when_a_release_changes_its_state():
    fleet = Fleet(FleetRules())
    fetching = ModelReport(
        name="chat", version="1", state="fetching", fetched_bytes=10, fetch_total_bytes=100
    )
    further = ModelReport(name="chat", version="1", state="fetching", fetched_bytes=40, fetch_total_bytes=100)
    loading = ModelReport(name="chat", version="1", state="loading")
    for now_s, model in ((0.0, fetching), (1.0, further)):
        fleet.accept(heartbeat(models=(model,)), now_s)
    watch = fleet.view(1.0).standings[0].watches["chat", "1"]
    assert (watch.since_s, watch.since_bytes) == (0.0, 10)
    fleet.accept(heartbeat(models=(loading,)), 2.0)
    assert fleet.view(2.0).standings[0].watches["chat", "1"].since_s == 2.0


class TestCutOff:
    """More than half silent within 5 s means that the origin is the one cut off."""

    def fleet(self, seen):
        fleet = Fleet(FleetRules())
        for node_id, seen_s in seen.items():
            fleet.accept(heartbeat(node_id), seen_s)
        return fleet

    def test_all_silent_together_are_held_as_suspect(self):
        fleet = self.fleet({"a": 0.0, "b": 0.4, "c": 0.8})
        view = fleet.view(60.0)
        assert [s.state for s in view.standings] == ["suspect"] * 3
        assert all(s.held for s in view.standings)
        assert view.isolated

    def test_the_first_to_be_missed_does_not_fall_before_the_others_are(self):
        fleet = self.fleet({"a": 0.0, "b": 0.9, "c": 0.9})
        assert states(fleet, 3.05)["a"] == "suspect"

    def test_half_of_them_are_down(self):
        fleet = self.fleet({"a": 0.0, "b": 0.0, "c": 0.0, "d": 60.0, "e": 60.0, "f": 60.0})
        assert states(fleet, 60.0) == {"a": "down", "b": "down", "c": "down", "d": "up", "e": "up", "f": "up"}
        assert not fleet.view(60.0).isolated

    def test_two_nodes_that_stop_are_down_because_that_happens(self):
        fleet = self.fleet({"a": 0.0, "b": 0.0, "c": 60.0})
        assert states(fleet, 60.0) == {"a": "down", "b": "down", "c": "up"}

    def test_nodes_that_left_one_by_one_are_down(self):
        fleet = self.fleet({"a": 0.0, "b": 20.0, "c": 40.0})
        assert set(states(fleet, 60.0).values()) == {"down"}

    def test_when_most_come_back_the_rest_is_down(self):
        fleet = self.fleet({"a": 0.0, "b": 0.0, "c": 0.0})
        fleet.accept(heartbeat("a"), 60.0)
        fleet.accept(heartbeat("b"), 60.0)
        assert states(fleet, 60.5) == {"a": "up", "b": "up", "c": "down"}

    def test_nodes_that_said_goodbye_have_not_vanished(self):
        fleet = Fleet(FleetRules())
        for node_id in "abc":
            fleet.accept(heartbeat(node_id, draining=True), 0.0)
        assert set(states(fleet, 60.0).values()) == {"down"}

    def test_holding_ends(self):
        fleet = self.fleet({"a": 0.0, "b": 0.0, "c": 0.0})
        assert set(states(fleet, 300.0).values()) == {"suspect"}
        assert set(states(fleet, 300.1).values()) == {"down"}


def test_a_full_fleet_refuses_a_new_node_and_replaces_a_dead_one():
    fleet = Fleet(FleetRules(nodes_limit_count=2))
    fleet.accept(heartbeat("a"), 0.0)
    fleet.accept(heartbeat("b"), 2.0)
    with pytest.raises(FleetFullError):
        fleet.accept(heartbeat("c"), 2.0)
    fleet.accept(heartbeat("a"), 2.0)
    fleet.accept(heartbeat("b"), 9.0)
    fleet.accept(heartbeat("c"), 9.0)
    assert states(fleet, 9.0) == {"b": "up", "c": "up"}


@given(
    seen=st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 50), min_size=1),
    later_s=st.floats(0, 400),
)
def test_a_node_heard_within_two_heartbeats_is_always_up(seen, later_s):
    fleet = Fleet(FleetRules())
    for node_id, seen_s in seen.items():
        fleet.accept(heartbeat(node_id), seen_s)
    now_s = 50 + later_s
    for standing in fleet.view(now_s).standings:
        if standing.age_s <= 2:
            assert standing.state == "up"
        elif standing.age_s > 3:
            assert standing.state == ("suspect" if standing.held else "down")


def test_a_node_that_was_down_and_came_back_is_missed_again_in_time():
    fleet = Fleet(FleetRules())
    fleet.accept(heartbeat(), 0.0)
    assert states(fleet, 4.0) == {"paris": "down"}
    fleet.accept(heartbeat(), 5.0)
    assert [states(fleet, now)["paris"] for now in (7.0, 7.1, 8.1)] == ["up", "suspect", "down"]


def test_nodes_that_come_and_go_leave_nothing_behind():
    fleet, now_s = Fleet(FleetRules()), 0.0
    for _ in range(1000):
        fleet.accept(heartbeat(), now_s)
        now_s += 4.0
        assert states(fleet, now_s) == {"paris": "down"}
    assert len(fleet._membership._heap) < 200


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.05, 6)), max_size=60))
def test_states_are_what_the_ages_say_whatever_came_before(events):
    rules = FleetRules(vanish_least_count=99)  # nobody is held
    fleet, now_s, seen_s = Fleet(rules), 0.0, {}
    for node_id, pause_s in events:
        now_s += pause_s
        fleet.accept(heartbeat(node_id), now_s)
        seen_s[node_id] = now_s
        now_s += pause_s / 3
        for node, state in states(fleet, now_s).items():
            age_s = round(now_s - seen_s[node], 9)  # the fleet adds where this subtracts
            assert state == ("up" if age_s <= 2 else "suspect" if age_s <= 3 else "down"), (node, age_s)


class TestHeardByAnother:
    """What another origin tells of a node."""

    def test_it_is_known_by_whom_and_the_last_word_counts(self):
        fleet = Fleet(FleetRules())
        assert fleet.accept(heartbeat(), 0.0, heard_by="b")
        assert fleet.view(0.0).standings[0].heard_by == "b"
        assert fleet.accept(heartbeat(), 1.0)
        assert fleet.view(1.0).standings[0].heard_by == ""
        assert [report.node_id for report in fleet.reports_heard_here(1.0)] == ["paris"]
        assert fleet.reports_heard_here(5.0) == ()  # one that is down is not kept alive by being repeated

    def test_a_report_told_twice_or_late_changes_nothing(self):
        fleet = Fleet(FleetRules())
        assert fleet.accept(numbered(5), 0.0)
        assert not fleet.accept(numbered(5), 1.0, heard_by="b")
        assert not fleet.accept(numbered(4), 1.0, heard_by="b")
        assert fleet.view(1.0).standings[0].age_s == 1.0
        assert fleet.accept(numbered(6), 1.0, heard_by="b")
        assert fleet.accept(numbered(1, incarnation=2), 1.5, heard_by="b")

    def test_an_older_node_that_does_not_count_is_always_taken(self):
        fleet = Fleet(FleetRules())
        assert fleet.accept(numbered(0), 0.0)
        assert fleet.accept(numbered(0), 1.0)

    def test_it_is_held_while_its_origin_is_not_heard(self):
        fleet = Fleet(FleetRules())
        fleet.hear_origins(frozenset("b"))
        fleet.accept(heartbeat(), 0.0, heard_by="b")
        fleet.accept(heartbeat("lyon"), 9.0)
        fleet.hear_origins(frozenset())
        assert states(fleet, 9.0) == {"paris": "suspect", "lyon": "up"}
        assert fleet.view(9.0).isolated
        fleet.hear_origins(frozenset("b"))  # it is heard, and says nothing of the node
        assert states(fleet, 9.5)["paris"] == "down"
        fleet.hear_origins(frozenset())
        assert states(fleet, 300.0)["paris"] == "suspect"
        assert states(fleet, 300.1)["paris"] == "down"

    def test_a_node_that_reports_here_is_not_excused(self):
        fleet = Fleet(FleetRules())
        fleet.accept(heartbeat(), 0.0, heard_by="b")
        fleet.accept(heartbeat(), 1.0)
        assert states(fleet, 4.5) == {"paris": "down"}

    def test_one_that_said_goodbye_is_not_held(self):
        fleet = Fleet(FleetRules())
        fleet.accept(heartbeat(draining=True), 0.0, heard_by="b")
        assert states(fleet, 4.0) == {"paris": "down"}

    def test_a_memory_is_as_old_as_it_is(self):
        fleet = Fleet(FleetRules())
        fleet.hear_origins(frozenset("b"))
        fleet.accept(heartbeat("fresh"), 100.0, heard_by="b", age_s=1.0)
        fleet.accept(heartbeat("old"), 100.0, heard_by="b", age_s=50.0)
        assert states(fleet, 100.0) == {"fresh": "up", "old": "down"}
        assert states(fleet, 102.5) == {"fresh": "down", "old": "down"}
        assert fleet.accept(heartbeat("old"), 102.5)
        assert not fleet.accept(heartbeat("old"), 103.0, heard_by="b", age_s=20.0)
        assert states(fleet, 103.0)["old"] == "up"


def numbered(number, incarnation=1):
    return NodeReport(node_id="paris", incarnation=incarnation, number=number, url="http://paris.example:1")


def test_places_are_of_the_nodes_that_were_asked_for_and_are_known():
    fleet = Fleet(FleetRules())
    fleet.accept(msgspec.structs.replace(heartbeat("paris"), place=Place(48.86, 2.35)), 0.0)
    for node_id in ("somewhere", "tokyo"):
        fleet.accept(heartbeat(node_id), 0.0)
    assert fleet.places(["paris", "somewhere", "nobody"]) == {"paris": Place(48.86, 2.35), "somewhere": None}
