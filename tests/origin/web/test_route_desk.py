"""The route desk: what arrives at one moment is answered together, each with its own list."""

from __future__ import annotations

import base64
import json

import pytest
import structlog

from origin.api import ModelReport, NodeReport, Place
from origin.tickets import SIGNED_LIMIT_COUNT, read_ticket, verifiers
from origin.web.front import Front
from origin.web.route_desk import RouteDesk

PLACES = {"paris": Place(48.86, 2.35), "tokyo": Place(35.68, 139.65)}


def request(place, path="/v1/route"):
    asked = {"model": "chat", "messages": []} if path != "/v1/route" else {"model": "chat"}
    body = json.dumps(asked).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"x-edgeward-place: {place.lat},{place.lon}\r\n\r\n"
    ).encode() + body


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written, self.closing, self.protocol = [], False, None

    def write(self, data):
        self.written.append(data)

    def get_write_buffer_size(self):
        return 0

    def get_extra_info(self, name):
        return ("192.0.2.1", 4000) if name == "peername" else None

    def is_closing(self):
        return self.closing

    def set_protocol(self, protocol):
        self.protocol = protocol

    def list(self):
        (response,) = self.written
        return json.loads(response.partition(b"\r\n\r\n")[2])


class Inner:
    """Stands where aiohttp's protocol does; keeps what it is given."""

    keepalive_timeout = 75.0
    _next_keepalive_close_time = 0.0

    def __init__(self):
        self.received, self.ended = [], False

    def connection_made(self, transport):
        pass

    def data_received(self, data):
        self.received.append(data)

    def connection_lost(self, error):
        self.ended = True


@pytest.fixture
async def context(origin, store, publish):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    ready = ModelReport(name="chat", version="1.0", state="ready", slots=64, service_s=0.5)
    for node_id, place in PLACES.items():
        url = f"http://{node_id}.example:8000"
        await origin.client.report(
            NodeReport(node_id=node_id, incarnation=1, url=url, place=place, models=(ready,))
        )
    return origin.runner.app[next(iter(origin.runner.app))]


@pytest.fixture
def soon():
    """The calls that the loop would make at its next turn."""
    return []


@pytest.fixture
async def connect(context, soon):
    desk = RouteDesk(context, soon.append)

    def connect():
        wire, inner = Wire(), Inner()
        front = Front(desk, lambda: inner)
        front.connection_made(wire)
        return front, wire, inner

    return connect


def turn(soon):
    calls, soon[:] = list(soon), []
    for call in calls:
        call()


def signature(text):
    return base64.urlsafe_b64decode(text + "==")[9 : 9 + 64]


@pytest.mark.parametrize("count", [1, 2, SIGNED_LIMIT_COUNT, SIGNED_LIMIT_COUNT + 3])
async def test_what_arrives_together_shares_a_signature_and_nothing_else(context, connect, soon, count):
    made = [connect() for _ in range(count)]
    names = [("paris", "tokyo")[number % 2] for number in range(count)]
    for (front, wire, _), name in zip(made, names, strict=True):
        front.data_received(request(PLACES[name]))
        assert wire.written == []
    assert len(soon) == 1
    turn(soon)
    known = verifiers(context.route_keys.public_keys(context.now_s()))
    answers = [wire.list() for _, wire, _ in made]
    for answer, name in zip(answers, names, strict=True):
        ticket = read_ticket(answer["ticket"], known, context.now_unix_s())
        assert answer["nodes"][0]["node_id"] == ticket.stops[0].node_id == name
    assert len({signature(answer["ticket"]) for answer in answers}) == 1 + (count > SIGNED_LIMIT_COUNT)
    assert not soon


async def test_the_next_moment_has_a_signature_of_its_own(connect, soon):
    (front, wire, _), found = connect(), []
    for _ in range(2):
        front.data_received(request(PLACES["paris"]))
        turn(soon)
        found.append(wire.list())
        wire.written.clear()
    assert signature(found[0]["ticket"]) != signature(found[1]["ticket"])


async def test_who_does_not_wait_for_an_answer_gets_them_in_order(connect, soon):
    front, wire, inner = connect()
    front.data_received(request(PLACES["paris"]))
    front.data_received(request(PLACES["tokyo"], "/v1/chat/completions"))
    front.data_received(request(PLACES["tokyo"]))
    turn(soon)
    assert [data.split(b" ")[1] for data in wire.written] == [b"200", b"307", b"200"]
    firsts = [json.loads(data.partition(b"\r\n\r\n")[2])["nodes"][0]["node_id"] for data in wire.written[::2]]
    assert firsts == ["paris", "tokyo"]
    assert inner.received == []


async def test_something_else_behind_a_request_comes_after_its_answer(connect, soon):
    front, wire, inner = connect()
    front.data_received(request(PLACES["paris"]))
    front.data_received(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.list()["nodes"][0]["node_id"] == "paris"
    assert inner.received == [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
    turn(soon)
    assert len(wire.written) == 1


async def test_who_has_gone_meanwhile_costs_the_others_nothing(connect, soon):
    (lost, lost_wire, inner), (closing, closing_wire, _), (front, wire, _) = connect(), connect(), connect()
    for each in (lost, closing, front):
        each.data_received(request(PLACES["paris"]))
    lost.connection_lost(None)
    closing_wire.closing = True
    turn(soon)
    assert (lost_wire.written, closing_wire.written, inner.ended) == ([], [], True)
    assert wire.list()["nodes"]


async def test_a_defect_in_signing_leaves_all_to_aiohttp(connect, soon, monkeypatch):
    def broken(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr("origin.web.route_desk.with_tickets", broken)
    made = [connect() for _ in range(3)]
    with structlog.testing.capture_logs() as lines:
        for front, _, _ in made:
            front.data_received(request(PLACES["paris"]))
        gone, _, left = made[0]
        gone.connection_lost(None)
        made[1][0].data_received(request(PLACES["tokyo"]))  # before the loop turns: after the first
        turn(soon)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["route.broke"]
    assert left.received == []
    assert made[1][2].received == [request(PLACES["paris"]), request(PLACES["tokyo"])]
    assert made[2][2].received == [request(PLACES["paris"])]
    assert made[2][1].protocol is made[2][2]
    assert all(wire.written == [] for _, wire, _ in made)
