"""The walk against scoring every node, over fleets that hear, forget, fail, load and are sent requests."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport, Place
from origin.errors import NoNodeAvailableError
from origin.fleet import Fleet, FleetRules
from origin.geo import figures
from origin.geo.choose import Ask, choose, parse_model
from origin.geo.client_spot import NOWHERE, ClientSpot
from origin.geo.figures import bring_up_to_date
from origin.geo.nearness import Order, order_of
from origin.geo.network import Network
from origin.geo.node_index import NodeIndex
from origin.geo.score import Prompt, own_part, terms_s
from origin.geo.sphere import apart_km, on_sphere
from origin.geo.walk import Walk, Want, best_offer
from origin.geo.wide import CODES
from origin.prefixes import Mark, pack_sketch


class Estimates:
    """A network whose estimates have nothing to do with distance."""

    def __init__(self, seed):
        self.epoch = 0
        self.seed = seed
        self.nodes = NodeIndex()

    def rtt_ms(self, spot, node_id):
        return random.Random(f"{self.seed} {self.epoch} {spot.prefix} {node_id}").uniform(1, 400)

    def estimates(self, spot, numbers, now_s):
        known = Network().estimates(spot, numbers[:0], now_s)
        rtts_ms = np.array([self.rtt_ms(spot, self.nodes.ids[number]) for number in numbers.tolist()])
        apart = np.full(len(numbers), np.nan)
        if spot.place is not None:
            apart = apart_km(self.nodes.points[numbers], on_sphere(spot.place))
        return known._replace(
            rtts_ms=rtts_ms, codes=np.full(len(numbers), CODES["prefix"], dtype=np.int8), apart_km=apart
        )


def random_report(rng, number):
    states = ["ready"] * 6 + ["asleep", "loading", "fetching"]
    models = [
        ModelReport(
            name="chat", version=version, state=rng.choice(states), slots=rng.choice((0, 1, 4)),
            busy=rng.randrange(6), queued=rng.choice((0, 0, 3)),
            service_s=rng.choice((None, rng.uniform(0, 3))),
            read_s=rng.choice((None, rng.uniform(0, 1))), unread_s=rng.choice((0.0, rng.uniform(0, 4))),
            prefill_tokens_per_s=rng.choice((None, rng.uniform(100, 3000))),
            load_s=rng.choice((None, rng.uniform(0.5, 5))),
            prefixes=rng.choice((b"", pack_sketch(rng.sample(range(6), 4)))),
        )
        for version in rng.choice((("1",), ("1",), ("1",), ("1", "2")))
    ]  # fmt: skip
    return NodeReport(
        node_id=f"n{number}", incarnation=1, url=rng.choice(("http://n.example", "https://n.example")),
        place=rng.choice((None, *[Place(rng.uniform(-90, 90), rng.uniform(-180, 180))] * 9)),
        channel=rng.choice(("stable", "stable", "canary")), draining=rng.random() < 0.05,
        models=tuple(models[: rng.choice((0, 1, 1, 1, 2, 2))]),
    )  # fmt: skip


def random_prompt(rng):
    own = tuple(Mark(n, 256 * (n + 1)) for n in range(rng.randrange(4)))
    shared = tuple(Mark(5 - n, end_bytes) for n, end_bytes in own)
    return Prompt(rng.randrange(0, 3000), own, 2000, rng.choice(((), shared)))


def busy_fleet(rng, nodes_count, now_s):
    fleet = Fleet(FleetRules(nodes_limit_count=10 * nodes_count))
    for number in range(nodes_count):
        fleet.accept(random_report(rng, number), rng.uniform(0, now_s))
        for _ in range(rng.randrange(4)):
            fleet.note_routed(f"n{number}", ("chat", "1"), now_s, travel_s=rng.uniform(0, 0.3))
        if rng.random() < 0.1:
            fleet.note_failed(f"n{number}", "someone", now_s)
    return fleet


def brute_force(pool, order, want, rules, now_s):
    """Every node scored alone; the slow truth."""
    others = bring_up_to_date(pool, rules, now_s)
    found = []
    for row, seat in enumerate(pool.rows):
        offer = best_offer(seat, want)
        if not seat.member.open or seat.node_id in want.exclude or offer is None or not offer.answers:
            continue
        (near,) = order.look([row])
        network_s = near.rtt_ms / 1000 if seat.node_id in want.warm else near.network_s
        unread = want.prompt.unread_tokens(offer)
        terms = terms_s(network_s, near.rtt_ms, unread, own_part(offer, others, rules, now_s), now_s)
        found.append((sum(terms.values()), seat.node_id))
    return sorted(found)


def band_s(best_s):
    return max(0.010, 0.05 * best_s)


@pytest.mark.parametrize("nodes_count", [1, 7, 40, 400])
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_the_walk_finds_what_scoring_every_node_finds(nodes_count, seed):
    rng = random.Random(seed)
    now_s = 3.0
    fleet = busy_fleet(rng, nodes_count, now_s)
    place = rng.choice((None, Place(rng.uniform(-90, 90), rng.uniform(-180, 180))))
    spot = rng.choice((NOWHERE, ClientSpot(prefix="10.0.0.0/24", place=place, place_source="mmdb")))
    network = rng.choice((None, Estimates(seed)))
    want = Want(
        version=rng.choice((None, None, "1", "2")), channels={"stable": rng.choice("12")},
        exclude=frozenset(rng.sample([f"n{i}" for i in range(nodes_count)], min(nodes_count // 2, 2))),
        warm=frozenset(rng.sample([f"n{i}" for i in range(nodes_count)], min(nodes_count // 2, 3))),
        prompt=random_prompt(rng),
        limit_count=rng.choice((1, 4, 16)), band_s=band_s,
    )  # fmt: skip
    view = fleet.view(now_s)
    pool = view.pool("chat", rng.choice((None, "stable")))
    pool.settle()
    order = order_of(pool, spot, network, now_s)
    walk = Walk(pool, order, want, view.rules, now_s)
    truth = brute_force(pool, order, want, view.rules, now_s)
    if not truth:
        assert walk.ready == []
        return
    worst_s = truth[min(want.limit_count, len(truth)) - 1][0]
    cut_s = max(worst_s, truth[0][0] + band_s(truth[0][0]))
    wanted = [it for it in truth if it[0] <= cut_s * (1 + 1e-9)]
    assert sorted(it.node_id for it in walk.ready) == sorted(node_id for _, node_id in wanted)
    assert [it.score_s for it in walk.ready] == pytest.approx([score for score, _ in wanted])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_what_is_kept_between_requests_never_goes_stale(seed):
    """Decisions of a fleet that lives on are those of a fleet that is told everything anew."""
    rng = random.Random(seed)
    fleet = Fleet(FleetRules())
    reference, bare = parse_model("chat")
    now_s, heard = 0.0, {}
    for _ in range(60):
        now_s += rng.uniform(0.06, 0.4)
        number = rng.randrange(8)
        report = random_report(rng, number)
        fleet.accept(report, now_s)
        heard[report.node_id] = (report, now_s)
        ask = Ask(
            reference, any_channel=bare, spot=ClientSpot(prefix="p", place=Place(1, 2)), prompt_tokens=500
        )
        fresh = Fleet(FleetRules())
        for node_id, member in fleet._members.items():
            fresh.accept(member.report, heard[node_id][1])
            copied = fresh._members[node_id]
            copied.doubts = member.doubts
            copied.become(copied.state)
            for name, seat in member.seats.items():
                for old, new in zip(seat.offers, copied.seats[name].offers, strict=True):
                    new.sent.extend(old.sent)
                    new.watch, new.read_until_s = old.watch, old.read_until_s
        outcomes = []
        for it in (fleet, fresh):
            try:
                outcomes.append({n.node_id: n.score_s for n in choose(it.view(now_s), ask, None).nodes})
            except NoNodeAvailableError:
                outcomes.append(None)
        # What stands in for unmeasured figures may be a heartbeat old; nobody's order depends on chance.
        if outcomes[0] is None or outcomes[1] is None:
            assert outcomes[0] == outcomes[1]
        else:
            measured = {
                n for n, m in fleet._members.items()
                if all(None not in {o.model.service_s, o.model.prefill_tokens_per_s, o.model.load_s}
                       for s in m.seats.values() for o in s.offers)
            }  # fmt: skip
            for node_id in measured & outcomes[0].keys() & outcomes[1].keys():
                assert outcomes[0][node_id] == pytest.approx(outcomes[1][node_id])
        fleet.note_routed(f"n{number}", ("chat", "1"), now_s)


def test_a_spot_in_a_large_fleet_opens_only_what_is_near():
    fleet = Fleet(FleetRules())
    rng = random.Random(5)
    for number in range(2000):
        place = Place(rng.uniform(-60, 60), rng.uniform(-180, 180))
        model = ModelReport(name="chat", version="1", state="ready", slots=4, service_s=1.0,
                            prefill_tokens_per_s=1000.0, load_s=1.0)  # fmt: skip
        fleet.accept(NodeReport(node_id=f"n{number}", incarnation=1, url="http://n.example", place=place,
                                models=(model,)), 0.0)  # fmt: skip
    reference, bare = parse_model("chat")
    spot = ClientSpot(place=Place(0, 0), place_source="mmdb")
    choose(fleet.view(0.0), Ask(reference, any_channel=bare, spot=spot, prompt_tokens=500), None)
    order = fleet.pool("chat", "stable").kept[spot]
    assert 0 < len(order.rows) < 1000
    assert list(order.network_s) == sorted(order.network_s)


def test_a_node_that_moves_is_where_it_is_now():
    fleet = Fleet(FleetRules())
    model = ModelReport(name="chat", version="1", state="ready", slots=4, service_s=1.0)
    reference, bare = parse_model("chat")
    ask = Ask(reference, any_channel=bare, spot=ClientSpot(place=Place(0, 0)))
    for number, place in enumerate((Place(0, 1), Place(0, 90))):
        report = NodeReport(node_id="n", incarnation=1, url="http://n.example", place=place, models=(model,))
        fleet.accept(report, float(number))
        (node,) = choose(fleet.view(float(number)), ask, None).nodes
        assert node.distance_km == pytest.approx((111.2, 10007.5)[number], rel=0.01)


def test_estimates_are_looked_at_again_when_the_network_has_learned(fleet, node):
    network, known = Estimates(1), fleet(node("a"))
    pool = known.view(0.0).pool("chat", "stable")
    pool.settle()
    spot, own = ClientSpot(prefix="p"), ClientSpot(prefix="p", client="10.0.0.1")
    first, first_own = order_of(pool, spot, network, 0.0), order_of(pool, own, network, 0.0)
    network.epoch += 1
    assert order_of(pool, spot, network, 5.0) is first
    assert order_of(pool, own, network, 5.0) is not first_own
    renewed = order_of(pool, spot, network, 11.0)
    assert renewed.rtt_ms[0] != first.rtt_ms[0]
    assert order_of(pool, spot, network, 70.9) is renewed
    assert order_of(pool, spot, network, 71.0) is not renewed


def test_what_was_looked_at_in_one_moment_is_not_looked_at_again_in_one(fleet, node):
    network, known = Estimates(1), fleet(node("a"))
    pool = known.view(0.0).pool("chat", "stable")
    pool.settle()
    spots = [ClientSpot(place=Place(lat / 2, 3.0), prefix=str(lat)) for lat in range(100)]
    first = [order_of(pool, spot, network, 0.0) for spot in spots]
    network.epoch += 1
    shares = []
    for now_s in (6.9, 8.5, 10.0, 11.5, 13.1):
        fresh = [order.fresh(network, now_s) for order in first]
        shares.append(sum(fresh))
        assert fresh == [order.fresh(network, now_s) for order in first]
    assert (shares[0], shares[-1]) == (100, 0)
    assert all(
        least <= share <= most
        for share, least, most in zip(shares[1:4], (60, 35, 10), (90, 65, 40), strict=True)
    )


def test_spots_that_nobody_asks_from_any_more_make_room(fleet, node, monkeypatch):
    monkeypatch.setattr("origin.geo.nearness._SPOTS_LIMIT_COUNT", 16)
    known = fleet(node("a"))
    pool = known.view(0.0).pool("chat", "stable")
    pool.settle()
    for number in range(100):
        order_of(pool, ClientSpot(prefix=str(number)), None, 0.0)
    assert len(pool.kept) <= 18  # with the layout, and the network that nothing has taught
    assert isinstance(pool.kept[ClientSpot(prefix="99")], Order)


def test_an_estimate_below_light_is_not_believed(fleet, node):
    class Liar(Estimates):
        def rtt_ms(self, spot, node_id):
            return 0.1

    reference, bare = parse_model("chat")
    ask = Ask(reference, any_channel=bare, spot=ClientSpot(place=Place(0, 0)))
    view = fleet(node("far", Place(0, 90))).view(0.0)
    (far,) = choose(view, ask, None, network=Liar(1)).nodes
    assert far.rtt_ms == pytest.approx(66.8, abs=0.5)
    assert math.isfinite(far.score_s)


def test_silent_nodes_cost_a_request_nothing_but_their_age(fleet, node):
    known, worked_out = fleet(*(node(f"n{number}") for number in range(50))), []
    pool = known.view(0.0).pool("chat", "stable")

    def rows_count(now_s):
        known.view(now_s)
        worked_out.clear()
        bring_up_to_date(pool, FleetRules(heartbeat_s=1.0), now_s)
        return len(worked_out)

    with pytest.MonkeyPatch.context() as patch:
        to = figures._work_out
        patch.setattr(figures, "_work_out", lambda *of: worked_out.append(of[1]) or to(*of))
        growing = [rows_count(now_s) for now_s in (2.5, 2.501, 2.519, 2.53)]
        rows_count(9.0)  # all fell silent together, so all are held
        grown = [rows_count(now_s) for now_s in (9.5, 10.0)]
    assert (growing, grown) == ([50, 0, 0, 50], [0, 0])
    assert pool.standing_s.tolist() == [2.0] * 50
