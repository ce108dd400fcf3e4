"""Tickets at a node: what is believed, what is counted, and where a request goes."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_node.errors import DrainingError, EngineFailedError, HandedOnError, OverloadedError
from edge_node.handing_on import Standing
from edge_node.offers import Carried, TicketDesk
from edge_node.telemetry import Metrics
from origin.tickets import OnTheWay, Signer, Stop, Ticket, split_way, with_way

NOW_S = 1_800_000_000.0
SIGNER = Signer(b"\x01" * 32)


def signed(*ids, model="chat", expires_unix_s=NOW_S + 60, signer=SIGNER, score_s=0.1):
    stops = tuple(Stop(each, f"http://{each}.example:1/", score_s, 10.0) for each in ids)
    return signer.sign([Ticket(model, stops, expires_unix_s)])[0]


class Desk(TicketDesk):
    def __init__(self):
        self.time_s = NOW_S
        self.page = Metrics(node_id="a", software="0")
        super().__init__("a", self.page, lambda: self.time_s)
        self.learn([SIGNER.public_key])

    def counted(self, name):
        families = text_string_to_metric_families(self.page.page().decode())
        return {
            next(iter(sample.labels.values())): sample.value
            for family in families
            if family.name == name
            for sample in family.samples
            if sample.name.endswith("_total")
        }


@pytest.fixture
def desk():
    return Desk()


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", "damaged"),
        ("no ticket", "damaged"),
        (signed("a", "b")[:-8], "forged"),
        (signed("a", "b", signer=Signer(b"\x02" * 32)), "unknown_key"),
        (signed("a", "b", expires_unix_s=NOW_S), "expired"),
        (signed("b", "c"), "not_named"),
        (signed("a", "b", model="embed"), "other_model"),
    ],
)
def test_what_cannot_be_believed_is_counted_and_the_request_stays(desk, text, state):
    Carried(desk, text).weigh("chat", Standing(wait_s=60.0))
    refused = Carried(desk, text).instead_of(DrainingError("stopping"), "chat")
    assert refused is None
    assert desk.counted("edge_tickets") == {state: 2.0}
    assert desk.handed_on == {}


def test_a_wait_hands_it_on_with_this_node_among_the_tried(desk):
    text = signed("a", "b", "c")
    with pytest.raises(HandedOnError) as moved:
        Carried(desk, text).weigh("chat:canary", Standing(wait_s=1.0))
    assert moved.value.url == "http://b.example:1/"
    assert split_way(moved.value.ticket) == (text, OnTheWay(frozenset({0})))
    assert moved.value.why == "busy; here_ms=1000; there_ms=160"
    assert desk.counted("edge_requests_handed_on") == {"busy": 1.0}


def test_a_request_that_could_begin_at_once_does_not_even_read_its_ticket(desk):
    Carried(desk, "no ticket").weigh("chat", Standing())
    assert desk.counted("edge_tickets") == {}


def test_who_was_passed_by_stays_so_on_the_way(desk):
    text = with_way(signed("b", "a", "c"), OnTheWay(passed_by=frozenset({0, 9})))
    with pytest.raises(HandedOnError) as moved:
        Carried(desk, text).weigh("chat", Standing(wait_s=1.0))
    assert moved.value.url == "http://c.example:1/"
    assert split_way(moved.value.ticket)[1] == (frozenset({1}), frozenset({0, 9}))


def test_two_hops_are_enough(desk):
    text = with_way(signed("b", "c", "a", "d"), OnTheWay(frozenset({0, 1})))
    assert Carried(desk, text).instead_of(OverloadedError("full"), "chat") is None


def test_only_refusals_that_another_node_would_not_give_move_a_request(desk):
    carried = Carried(desk, signed("a", "b"))
    assert carried.instead_of(EngineFailedError("died at it"), "chat") is None
    assert carried.instead_of(OverloadedError("full"), "chat").why.startswith("full; here_ms=never")


def test_what_has_its_place_is_not_weighed_again(desk):
    carried = Carried(desk, signed("a", "b"))
    carried.settle()
    carried.weigh("chat", Standing(wait_s=60.0))
    assert desk.handed_on == {}


def test_a_ticket_that_was_read_before_still_ends_in_time(desk):
    text = signed("a", "b")
    assert desk.offer(text, "chat") is not None
    desk.time_s += 60
    assert desk.offer(text, "chat") is None


def test_new_keys_take_the_place_of_old_ones_and_silence_changes_nothing(desk):
    text = signed("a", "b")
    desk.learn([])
    assert desk.offer(text, "chat") is not None
    desk.learn([Signer(b"\x02" * 32).public_key])
    assert desk.offer(text, "chat") is None
