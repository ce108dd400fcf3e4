"""Lists of nodes to measure: chosen within a budget, kept between, and the nearest where neither is to be had."""

from origin.api import Place
from origin.geo.client_spot import NOWHERE, ClientSpot
from origin.geo.heard import Sample
from origin.geo.network import Network
from origin.geo.probe_list import ProbeLists


def pool_of(fleet, node, count=12):
    made = fleet(*(node(f"n{number:02}", Place(0, 10 * number)) for number in range(count)))
    pool = made.view(0.0).pool("chat", "stable")
    pool.settle()
    return pool


def ids(peers):
    return [peer.node_id for peer in peers]


def test_past_the_budget_clients_get_the_nearest_and_a_choice_when_there_is_room_again(fleet, node):
    pool, network, chosen = pool_of(fleet, node), Network(), []
    probes = network.probes
    network.probes = lambda spot, nodes, now_s, limit_count: chosen.append(spot) or ("n11",)
    lists = ProbeLists(network)
    spots = [ClientSpot(place=Place(0, 50 + number / 100)) for number in range(40)]
    first = [ids(lists.peers(pool, spot, 0.0)) for spot in spots]
    assert (first[:20], len(chosen)) == ([["n11"]] * 20, 20)
    assert first[-1] == ["n05", "n06", "n04", "n07"]
    assert ids(lists.peers(pool, spots[-1], 0.5)) == first[-1]  # kept for a second, though there is room
    assert ids(lists.peers(pool, spots[-1], 1.5)) == ["n11"]
    assert probes(spots[0], [("n00", Place(0, 0))], 0.0) == ("n00",)


def test_what_was_chosen_is_kept_while_there_is_no_room_for_better(fleet, node):
    pool, network = pool_of(fleet, node), Network()
    lists, spot = ProbeLists(network), ClientSpot(place=Place(0, 50))
    first = lists.peers(pool, spot, 0.0)
    for number in range(20):
        lists.peers(pool, ClientSpot(place=Place(1, number)), 40.0)
    assert lists.peers(pool, spot, 40.0) is first


def test_the_nearest_are_none_that_the_client_has_measured(fleet, node):
    pool, network = pool_of(fleet, node), Network()
    own = ClientSpot(place=Place(0, 50), client="192.0.2.1")
    network.learn(own, [Sample("n05", Place(0, 50), 9.0, 1, "192.0.2.1", 0.0)], 0.0)
    lists = ProbeLists(network)
    for number in range(20):
        lists.peers(pool, ClientSpot(place=Place(1, number)), 0.0)
    assert "n05" not in ids(lists.peers(pool, own, 0.0))
    assert len(lists.peers(pool, own, 0.0)) == 4


def test_who_is_nowhere_and_a_fleet_of_one_have_nothing_to_measure(fleet, node):
    lists = ProbeLists(Network())
    assert lists.peers(pool_of(fleet, node), NOWHERE, 0.0) == ()
    assert lists.peers(pool_of(fleet, node, 1), ClientSpot(place=Place(0, 0)), 0.0) == ()
