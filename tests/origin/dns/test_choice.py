"""The nodes for a name: ranked for the client, and the last known ones when nobody is left."""

import pytest

from origin.api import CatalogAnswer, ModelReport, NodeReport
from origin.dns.choice import chosen
from origin.dns.directory import Target, directory_of
from origin.dns.labels import zone_bytes
from origin.geo.choose import parse_model
from origin.geo.client_spot import NOWHERE, ClientSpot


def target_of(text="chat"):
    reference, bare = parse_model(text)
    return Target(b"\0", "model", reference, any_channel=bare)


def choice_of(world, target, now_s=0.0, spot=NOWHERE, catalog=None):
    view = world.fleet.view(now_s)
    reports = {standing.report.node_id: standing.report for standing in view.standings}
    return chosen(view, reports, catalog, target, spot, "s", network=None, limit_count=32, keep_s=600)


def ids(choice):
    return [node.node_id for node in choice.nodes]


def test_the_nearest_first(world, cities):
    near_tokyo = ClientSpot(place=cities["tokyo"])
    choice = choice_of(world, target_of(), spot=near_tokyo)
    assert ids(choice)[0] == "tokyo"
    assert len(choice.nodes) == 3
    assert not choice.stale
    assert not choice.shared


def test_silent_nodes_stand_in_for_a_while(world):
    assert not choice_of(world, target_of(), now_s=2.5).stale
    choice = choice_of(world, target_of(), now_s=599.0)
    assert choice.stale
    assert sorted(ids(choice)) == ["london", "paris", "tokyo"]
    gone = choice_of(world, target_of(), now_s=601.0)
    assert gone.nodes == ()
    assert gone.known


def test_one_that_answers_is_better_than_three_that_did(world):
    world.hear("london", 500.0)
    choice = choice_of(world, target_of(), now_s=500.5)
    assert ids(choice) == ["london"]
    assert not choice.stale


def test_a_node_that_is_still_loading_is_not_told(world):
    world.hear("paris", 0.1, models=(ModelReport(name="chat", version="1.0", state="loading"),))
    assert sorted(ids(choice_of(world, target_of(), now_s=0.2))) == ["london", "tokyo"]


def test_who_said_that_it_leaves_does_not_stand_in(world):
    world.hear("paris", 0.1, draining=True)
    assert sorted(ids(choice_of(world, target_of(), now_s=100.0))) == ["london", "tokyo"]


def test_nothing_to_choose_is_the_same_for_all(world):
    world.hear("london", 500.0)
    assert choice_of(world, target_of(), now_s=500.5).shared


@pytest.mark.parametrize("text", ["chat:canary", "chat@9", "other"])
def test_nobody_has_it(world, text):
    choice = choice_of(world, target_of(text), catalog=CatalogAnswer(releases=(), channels={}))
    assert choice.nodes == ()
    assert choice.known


def test_an_origin_that_has_heard_of_nobody_knows_nothing(world):
    world.fleet = type(world.fleet)(world.fleet.rules)
    assert not choice_of(world, target_of()).known
    apex = directory_of("example.org", (), (), None)[zone_bytes("example.org")]
    assert not choice_of(world, apex).known


def test_a_node_is_told_of_whatever_its_state(world):
    target = Target(b"\0", "node", node_id="paris")
    (paris,) = choice_of(world, target, now_s=9000.0).nodes
    assert (paris.ipv4, paris.ipv6) == (("198.51.100.2",), ("2001:db8:1::2",))
    assert choice_of(world, Target(b"\0", "node", node_id="rome")).nodes == ()


@pytest.mark.parametrize(
    ("url", "port", "secure"),
    [
        ("http://x:7710", 7710, False),
        ("https://x", 443, True),
        ("http://x", 80, False),
        ("http://x:99999", 0, False),
        ("http://[x", 0, False),
        ("", 80, False),
    ],
)
def test_ports_and_schemes(world, url, port, secure):
    addresses = ("nonsense", "198.51.100.9", "::ffff", "999.1.1.1")
    world.fleet.accept(NodeReport(node_id="odd", incarnation=1, url=url, addresses=addresses), 0.0)
    (odd,) = choice_of(world, Target(b"\0", "node", node_id="odd")).nodes
    assert (odd.port, odd.secure) == (port, secure)
    assert (odd.ipv4, odd.ipv6) == (("198.51.100.9",), ("::ffff",))
