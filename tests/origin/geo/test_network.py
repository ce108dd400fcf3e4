"""What is believed of round trips: whose word counts, how long, and what nobody can do alone."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.api import Place
from origin.geo.client_spot import NOWHERE, ClientSpot
from origin.geo.distance import distance_km, estimated_rtt_ms, least_rtt_ms
from origin.geo.heard import HeardRules, Sample
from origin.geo.network import Network, NetworkRules
from origin.geo.rtt_surface import fitted

PARIS, LONDON, TOKYO, LYON = Place(48.86, 2.35), Place(51.51, -0.13), Place(35.68, 139.65), Place(45.76, 4.84)
SPOT = ClientSpot("198.18.1.0/24", 64_500, "FR", PARIS, "mmdb")


def seen(node_id, place, rtt_ms, at_s=0.0, count=5):
    return Sample(node_id, place, rtt_ms, count, "", at_s)


def claimed(reporter, node_id, place, rtt_ms, at_s=0.0):
    return Sample(node_id, place, rtt_ms, 1, reporter, at_s)


def test_without_any_measurement_distance_decides_and_says_so():
    network = Network()
    near, far = network.estimate(SPOT, "a", LONDON, 0.0), network.estimate(SPOT, "b", TOKYO, 0.0)
    # numpy's sines and the library's may differ in the last digit, by the processor.
    assert near.rtt_ms == pytest.approx(estimated_rtt_ms(distance_km(PARIS, LONDON)))
    assert near.rtt_ms < far.rtt_ms
    assert near.source == far.source == "place"
    assert network.estimate(NOWHERE, "a", LONDON, 0.0).source == "none"
    assert network.estimate(SPOT, "a", None, 0.0).source == "none"


def test_a_kernel_s_word_of_the_network_counts_before_places_and_the_own_probe_before_both():
    network = Network()
    network.learn(SPOT, [seen("a", LONDON, 50.0)], 0.0)
    told = network.estimate(SPOT, "a", LONDON, 0.0)
    assert told.source == "prefix"
    assert abs(told.rtt_ms - 50) < 6  # five samples against one guess
    own = SPOT._replace(client="198.18.1.7")
    network.learn(own, [claimed("198.18.1.7", "a", LONDON, 80.0)], 0.0)
    probe = network.estimate(own, "a", LONDON, 0.0)
    assert (probe.rtt_ms, probe.source) == (80.0, "probe")
    assert abs(network.estimate(SPOT, "a", LONDON, 0.0).rtt_ms - 50) < 6  # and nobody else's


def test_an_own_probe_is_worth_minutes():
    network = Network()
    own = ClientSpot(place=PARIS, client="192.0.2.1")
    network.learn(own, [claimed("192.0.2.1", "a", LONDON, 130.0)], 0.0)
    ages = [network.estimate(own, "a", LONDON, float(s)).rtt_ms for s in (0, 300, 900, 3599)]
    assert ages == sorted(ages, reverse=True)
    assert ages[0] == 130.0
    late = network.estimate(own, "a", LONDON, 7200.1)
    assert late.source == "place"


def test_one_client_s_lie_does_not_move_what_its_neighbours_get():
    network, honest = Network(), 40.0
    for n in range(4):
        network.learn(SPOT, [claimed(f"198.18.1.{n}", "a", LONDON, honest + n)], 0.0)
    before = network.estimate(SPOT, "a", LONDON, 0.0).rtt_ms
    for at_s in range(500):
        network.learn(SPOT, [claimed("198.18.1.99", "a", LONDON, 0.01, float(at_s))], float(at_s))
    assert abs(network.estimate(SPOT, "a", LONDON, 500.0).rtt_ms - before) < 3


def test_claims_of_fewer_than_three_clients_or_networks_move_nobody():
    network, cell_mate = Network(), ClientSpot("198.18.200.0/24", 64_500, "FR", PARIS, "mmdb")
    before = network.estimate(cell_mate, "a", LONDON, 0.0)
    for n in range(4):
        spot = ClientSpot(f"198.18.{n // 2}.0/24", 64_500, "FR", PARIS, "mmdb")
        network.learn(spot, [claimed(f"198.18.{n // 2}.{n}", "a", LONDON, 300.0)], 0.0)
        assert network.estimate(spot, "a", LONDON, 0.0) == before
    assert network.estimate(cell_mate, "a", LONDON, 0.0) == before


def test_no_claim_stands_against_a_kernel():
    network = Network()
    network.learn(SPOT, [seen("a", LONDON, 40.0, count=10)], 0.0)
    before = network.estimate(SPOT, "a", LONDON, 0.0).rtt_ms
    for n in range(100):
        network.learn(SPOT, [claimed(f"198.18.1.{n}", "a", LONDON, 1.0)], 0.0)
    assert network.estimate(SPOT, "a", LONDON, 0.0).rtt_ms == before


def test_what_beats_light_does_not_speak_for_its_place():
    network = Network()
    neighbour = ClientSpot("198.18.9.0/24", 64_500, "FR", PARIS, "mmdb")
    network.learn(neighbour, [seen("a", TOKYO, 5.0)], 0.0)
    assert not network.fit_due
    usual_ms = estimated_rtt_ms(distance_km(PARIS, TOKYO))
    assert network.estimate(SPOT, "a", TOKYO, 0.0).rtt_ms == pytest.approx(usual_ms)


def test_neighbours_of_an_as_count_before_the_cell_and_one_network_is_one_voice():
    network = Network()
    for n, rtt_ms in enumerate((30.0, 31.0, 32.0, 900.0)):
        other = ClientSpot(f"198.18.{n + 10}.0/24", 64_500, "FR", PARIS, "mmdb")
        for _ in range(1 if rtt_ms < 100 else 200):
            network.learn(other, [seen("a", LONDON, rtt_ms, count=1000)], 0.0)
    told = network.estimate(SPOT, "a", LONDON, 0.0)
    assert told.source == "as"
    assert 28 < told.rtt_ms < 40
    elsewhere = ClientSpot("198.19.0.0/24", 64_999, "FR", PARIS, "mmdb")
    assert network.estimate(elsewhere, "a", LONDON, 0.0).source == "place"


def test_a_country_counts_where_no_place_is_known():
    network = Network()
    network.learn(ClientSpot("198.18.3.0/24", None, "FR"), [seen("a", LONDON, 20.0)], 0.0)
    told = network.estimate(ClientSpot(region="FR"), "a", LONDON, 0.0)
    assert told.source == "region"
    assert told.rtt_ms < network.estimate(ClientSpot(region="DE"), "a", LONDON, 0.0).rtt_ms


def test_what_guesses_were_off_by_is_added_to_nodes_that_were_not_measured():
    network = Network()
    slow = ClientSpot(place=PARIS, client="192.0.2.9")
    guesses = {
        n: network.estimate(slow, n, at, 0.0).rtt_ms for n, at in (("a", LONDON), ("b", LYON), ("c", TOKYO))
    }
    network.learn(
        slow, [claimed("192.0.2.9", n, at, guesses[n] + 60) for n, at in (("a", LONDON), ("b", LYON))], 0.0
    )
    after = network.estimate(slow, "c", TOKYO, 1.0)
    assert guesses["c"] + 30 < after.rtt_ms <= guesses["c"] + 60
    assert after.source == "place"


def test_the_surface_learns_a_slow_node_and_a_detour_from_other_cities():
    network = Network()
    chance = random.Random(3)
    for n in range(60):
        place = Place(chance.uniform(30, 60), chance.uniform(-10, 30))
        spot = ClientSpot(f"198.18.{n}.0/24", place=place)
        line = 10 + 0.012 * distance_km(place, LONDON)
        network.learn(spot, [seen("fast", LONDON, line), seen("slow", LONDON, line + 70)], 0.0)
    network.install(fitted(network.table()))
    fast, slow = (network.estimate(ClientSpot(place=PARIS), n, LONDON, 9.0).rtt_ms for n in ("fast", "slow"))
    assert abs(slow - fast - 70) < 8
    assert abs(fast - 10 - 0.012 * distance_km(PARIS, LONDON)) < 8


def test_a_node_that_moves_is_learned_anew():
    network = Network()
    network.learn(SPOT, [seen("a", LONDON, 12.0)], 0.0)
    network.learn(SPOT, [seen("a", TOKYO, 240.0)], 1.0)
    assert abs(network.estimate(SPOT, "a", TOKYO, 1.0).rtt_ms - 240) < 20


def test_the_epoch_grows_with_news_and_at_most_once_a_second():
    network = Network()
    for n in range(50):
        network.learn(SPOT, [seen(f"n{n}", LONDON, 30.0)], n / 100)
    assert network.epoch == 1
    network.learn(SPOT, [], 2.0)
    assert network.epoch == 2
    for n in range(50):
        network.learn(SPOT, [seen(f"n{n}", LONDON, 30.5)], 5.0)
    assert network.epoch == 2  # nothing worth a look


def test_memory_is_bounded():
    rules = NetworkRules(heard=HeardRules(scopes_limit_count=50, nodes_limit_count=4))
    network = Network(rules)
    for n in range(400):
        spot = ClientSpot(f"198.18.{n % 256}.{n // 256}/24", n, "", Place(n / 10, 0), "mmdb")
        network.learn(spot, [claimed(f"10.0.0.{n}", f"n{m}", LONDON, 200.0) for m in range(8)], 0.0)
    for scopes in network._heard._kinds.values():
        assert len(scopes) <= 50
        assert all(len(nodes) <= 4 for nodes in scopes.values())


def test_places_learned_from_the_nearest_node_and_databases_that_cannot_be_right():
    network = Network()
    assert network.place_of("198.18.1.0/24", PARIS, 0.0) == (PARIS, "mmdb")
    assert network.place_of("198.18.1.0/24", None, 0.0) == (None, "none")
    network.learn(SPOT, [claimed("198.18.1.5", "t", TOKYO, 1.0)], 0.0)
    assert network.place_of("198.18.1.0/24", PARIS, 0.0) == (PARIS, "mmdb")  # anybody can claim
    network.learn(SPOT, [seen("t", TOKYO, 3.0)], 0.0)
    assert network.place_of("198.18.1.0/24", PARIS, 0.0) == (TOKYO, "learned")
    assert network.place_of("", PARIS, 0.0) == (PARIS, "mmdb")


def test_probes_are_of_plausible_nodes_and_never_of_what_was_just_measured():
    network = Network()
    nodes = [("a", LONDON), ("b", LYON), ("c", TOKYO)]
    own = ClientSpot(place=PARIS, client="192.0.2.1")
    assert network.probes(own, nodes, 0.0, limit_count=2) == ("a", "b")
    network.learn(own, [claimed("192.0.2.1", "a", LONDON, 30.0)], 0.0)
    assert "a" not in network.probes(own, nodes, 1.0)
    assert network.probes(own, [], 1.0) == ()
    assert "a" in network.probes(own, nodes, 400.0)


places = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))


@given(
    places,
    st.lists(st.tuples(places, st.sampled_from("abcd"), st.floats(0.01, 60_000), st.booleans()), max_size=30),
)
def test_whatever_is_reported_estimates_are_finite_and_positive(client, reports):
    network = Network()
    nodes = dict(zip("abcd", (PARIS, LONDON, TOKYO, LYON), strict=True))
    for number, (place, node_id, rtt_ms, sure) in enumerate(reports):
        spot = ClientSpot(f"198.18.{number}.0/24", number, "", place, "mmdb")
        sample = Sample(node_id, nodes[node_id], rtt_ms, 1, "" if sure else "192.0.2.1", 0.0)
        network.learn(spot, [sample], float(number))
    network.install(fitted(network.table()))
    spot = ClientSpot(place=client, client="192.0.2.1")
    for node_id, place in nodes.items():
        told = network.estimate(spot, node_id, place, 31.0)
        assert math.isfinite(told.rtt_ms)
        assert told.rtt_ms > 0
        assert (
            network.estimate(ClientSpot(place=client), node_id, place, 31.0).rtt_ms
            >= least_rtt_ms(distance_km(client, place)) - 1e-6
            or told.source != "place"
        )
    assert set(network.probes(spot, list(nodes.items()), 31.0)) <= set(nodes)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 70])
def test_any_number_of_places_gives_probes(count):
    network = Network()
    for n in range(count):
        spot = ClientSpot(f"198.18.{n}.0/24", place=Place(n / 2, n))
        network.learn(spot, [seen("a", LONDON, 150.0 + n)], 0.0)
    network.install(fitted(network.table()))
    nodes = [("a", LONDON), ("new", TOKYO)]
    assert set(network.probes(SPOT, nodes, 1.0)) == {"a", "new"}
