"""The front: what it answers is what aiohttp would have answered, and what it does not understand it does not touch."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import time

import msgpack
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from origin.api import ModelReport, NodeReport, Place, RouteQuery
from origin.client import OriginClient
from origin.web.front import Front
from origin.web.route_desk import RouteDesk
from origin.web.simple_request import SENT_ON_PATHS, parse

BODY = json.dumps({"model": "chat", "place": {"lat": 48.0, "lon": 2.0}}).encode()


def request(body=BODY, *, line=b"POST /v1/route HTTP/1.1", **headers):
    lines = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return line + b"\r\n" + head.encode("latin-1") + b"\r\n" + body


@pytest.fixture
async def network(origin, store, publish):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    ready = ModelReport(name="chat", version="1.0", state="ready", slots=64, service_s=0.5)
    for node_id, place in (("paris", Place(48.86, 2.35)), ("tokyo", Place(35.68, 139.65))):
        url = f"http://{node_id}.example:8000"
        await origin.client.report(
            NodeReport(node_id=node_id, incarnation=1, url=url, place=place, models=(ready,))
        )
    return origin


@pytest.fixture
def handed_on(monkeypatch):
    """How many connections were left to aiohttp."""
    counts = {"answered": 0, "left": 0}
    take = RouteDesk.take

    def counted(desk, data, remote, asker):
        taken = take(desk, data, remote, asker)
        counts["answered" if taken else "left"] += 1
        return taken

    monkeypatch.setattr(RouteDesk, "take", counted)
    return counts


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, *pieces):
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.002 if len(pieces) > 1 else 0)

    async def response(self):
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body

    async def ended(self):
        async with asyncio.timeout(10):
            return await self.reader.read()


@pytest.fixture
async def connect(network):
    made = []

    async def connect():
        address = network.runner.addresses[0]
        made.append(Connection(*await asyncio.open_connection(address[0], address[1])))
        return made[-1]

    yield connect
    for connection in made:
        connection.writer.close()


class TestAnswers:
    async def test_it_answers_as_aiohttp_does(self, connect, handed_on):
        connection = await connect()
        await connection.send(request(x_request_id="mine-1"))
        status, headers, body = await connection.response()
        assert handed_on == {"answered": 1, "left": 0}
        await connection.send(request(x_request_id="mine-1", Connection="keep-alive"))
        plain_status, plain_headers, plain_body = await connection.response()
        assert handed_on["left"] == 1
        assert (status, plain_status) == (200, 200)
        for its in (
            headers,
            plain_headers,
        ):  # the moment of expiry has more digits at one time than at another
            its.pop("content-length")
        assert headers.keys() == plain_headers.keys()
        assert headers["date"][-3:] == "gmt"
        assert {**headers, "date": ""} == {**plain_headers, "date": ""}
        ours, theirs = json.loads(body), json.loads(plain_body)
        for answer in (ours, theirs):
            answer.pop("expires_unix_s")
            answer.pop("ticket")
        assert ours == theirs
        assert ours["nodes"][0]["node_id"] == "paris"

    @pytest.mark.parametrize("path", SENT_ON_PATHS)
    @pytest.mark.parametrize("place", [None, "35,139"])
    async def test_it_sends_on_as_aiohttp_does(self, connect, handed_on, path, place):
        body = json.dumps(
            {"model": "chat", "messages": [{"role": "user", "content": "words " * 300}]}
        ).encode()
        raw = {
            "line": f"POST {path} HTTP/1.1".encode(),
            "x_request_id": "mine-1",
            "Authorization": "Bearer x",
        }
        raw |= {"x_edgeward_place": place, "x_edgeward_session": "s"}
        connection, answers = await connect(), []
        for more in ({}, {"Connection": "keep-alive"}):
            await connection.send(request(body, **raw, **more))
            status, headers, rest = await connection.response()
            headers["location"], _, ticket = headers["location"].partition("?edgeward_ticket=")
            assert (len(ticket) > 100, headers.pop("date")[-3:], rest) == (True, "gmt", b"")
            answers.append((status, headers))
        assert handed_on == {"answered": 1, "left": 1}
        assert answers[0] == answers[1]
        assert answers[0][0] == 307
        assert (
            answers[0][1]["location"]
            == f"http://{'tokyo' if place else answers[0][1]['x-edgeward-node']}.example:8000{path}"
        )

    async def test_a_request_to_an_unknown_model_is_refused_by_aiohttp(self, connect, handed_on):
        connection = await connect()
        await connection.send(request(b'{"model": "nope"}', line=b"POST /v1/completions HTTP/1.1"))
        assert (await connection.response())[0] == 404
        assert handed_on == {"answered": 0, "left": 1}

    async def test_msgpack_both_ways_and_a_place_in_a_header(self, connect, handed_on):
        connection = await connect()
        body = msgpack.packb({"model": "chat"})
        raw = request(
            body, Content_Type="application/msgpack", Accept="application/msgpack", x_edgeward_place="35,139"
        )
        await connection.send(raw)
        status, headers, answer = await connection.response()
        assert (status, headers["content-type"]) == (200, "application/msgpack")
        assert msgpack.unpackb(answer)["nodes"][0]["node_id"] == "tokyo"
        assert handed_on == {"answered": 1, "left": 0}

    async def test_our_own_client_comes_this_way(self, network, handed_on):
        async with OriginClient(network.url) as client:
            for _ in range(3):
                assert (await client.route(RouteQuery(model="chat"))).ticket
        assert handed_on == {"answered": 3, "left": 0}

    async def test_many_on_one_connection_and_then_something_else(self, connect, handed_on):
        connection = await connect()
        ids = set()
        for _ in range(5):
            await connection.send(request())
            ids.add((await connection.response())[1]["x-request-id"])
        assert len(ids) == 5
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await connection.response())[0] == 200
        await connection.send(request())
        assert (await connection.response())[0] == 200
        # After anything else the connection is aiohttp's for good: answers keep their order.
        assert handed_on == {"answered": 5, "left": 1}

    async def test_requests_sent_at_once_are_answered_in_their_order(self, connect):
        connection = await connect()
        await connection.send(b"".join(request(x_request_id=f"r{number}") for number in range(5)))
        ids = [(await connection.response())[1]["x-request-id"] for _ in range(5)]
        assert ids == [f"r{number}" for number in range(5)]

    async def test_in_two_pieces_cut_anywhere(self, connect):
        whole = request()
        for cut in range(1, len(whole), 7):
            connection = await connect()
            await connection.send(whole[:cut], whole[cut:])
            assert (await connection.response())[0] == 200

    async def test_decisions_and_answers_are_counted_and_few_lines_told(self, network, connect):
        connection = await connect()
        with structlog.testing.capture_logs() as lines:
            for _ in range(30):
                await connection.send(request())
                await connection.response()
        told = [line for line in lines if line["event"] == "request.answered"]
        assert len(told) == 10
        assert told[0] | {"request_id": "", "duration_ms": 0, "client": ""} == {
            "event": "request.answered", "log_level": "info", "method": "POST", "path": "/v1/route", "status": 200,
            "code": "", "unlogged_count": 0, "request_id": "", "duration_ms": 0, "client": "",
        }  # fmt: skip
        page = network.telemetry.rendered().decode()
        assert 'router_decisions_total{reason="nearest"} 30.0' in page
        labels = 'method="POST",status="200",url="/v1/route"'
        assert f"origin_request_duration_seconds_count{{{labels}}} 30.0" in page

    async def test_refusals_are_aiohttps_and_counted_once(self, network, connect):
        for body, status in ((b'{"model": "nope"}', 404), (b'{"model": "chat", "x": 1}', 400), (b"{", 400)):
            connection = await connect()
            await connection.send(request(body))
            answered, headers, _ = await connection.response()
            assert (answered, headers["content-type"]) == (status, "application/json")
        assert 'router_decisions_total{reason="model_unknown"} 1.0' in network.telemetry.rendered().decode()

    @pytest.mark.parametrize(
        "raw",
        [
            request(Host=None),
            request().replace(b"Host: x", b"Host: x\r\nHost: y"),
            request(**{f"X_{number}": "a" for number in range(126)}),
        ],
    )
    async def test_what_aiohttp_refuses_is_refused(self, connect, handed_on, raw):
        connection = await connect()
        await connection.send(raw)
        assert (await connection.response())[0] == 400
        assert handed_on == {"answered": 0, "left": 1}

    async def test_an_origin_that_stops_ends_its_connections(self, network, connect):
        connection = await connect()
        await connection.send(request())
        await connection.response()
        await network.runner.cleanup()
        assert await connection.ended() == b""

    async def test_who_does_not_read_is_not_answered_without_end(self, network):
        """A client that sends and never reads costs a bounded buffer."""

        class Deaf(asyncio.Transport):
            def __init__(self):
                super().__init__()
                self.unsent_bytes, self.protocol = 0, None

            def write(self, data):
                self.unsent_bytes += len(data)

            def get_write_buffer_size(self):
                return self.unsent_bytes

            def is_closing(self):
                return False

            def set_protocol(self, protocol):
                self.protocol = protocol

        class Inner(asyncio.Protocol):
            keepalive_timeout = 75.0

            def __init__(self):
                self.received = b""

            def data_received(self, data):
                self.received += data

        context = network.runner.app[next(iter(network.runner.app))]
        transport, inner = Deaf(), Inner()
        front = Front(RouteDesk(context, asyncio.get_running_loop().call_soon), lambda: inner)
        front.connection_made(transport)
        for _ in range(1000):
            if transport.protocol is None:
                front.data_received(request())
        assert transport.protocol is inner
        assert transport.unsent_bytes < 100_000
        assert inner.received == request()


class TestParse:
    def test_what_it_understands(self):
        path, headers, body = parse(request(Accept="*/*", User_Agent="x", x_edgeward_session=" a b \t"))
        assert headers == {
            b"content-type": b"application/json", b"content-length": str(len(BODY)).encode(), b"accept": b"*/*",
            b"x-edgeward-session": b"a b",
        }  # fmt: skip
        assert (path, body) == ("/v1/route", BODY)

    @pytest.mark.parametrize(
        "raw",
        [
            request(line=b"GET /v1/route HTTP/1.1"),
            request(line=b"POST /v1/route HTTP/1.0"),
            request(line=b"POST /v1/route?place=1,2 HTTP/1.1"),
            request(line=b"POST  /v1/route HTTP/1.1"),
            request(line=b"POST http://x/v1/route HTTP/1.1"),
            request(line=b"POST /v1/models HTTP/1.1"),
            request(line=b"POST /v1/chat/completions?place=1,2 HTTP/1.1"),
            request(line=b""),
            b"POST /v1/route HTTP/1.1",
            b"POST /v1/route HTTP/1.1\r\n\r\n",
            request(Transfer_Encoding="chunked"),
            request(Transfer_Encoding="chunked", Content_Length=None),
            request(Content_Encoding="zstd"),
            request(Connection="close"),
            request(Expect="100-continue"),
            request(X_Forwarded_For="203.0.113.9"),
            request(Content_Length=None),
            request(Content_Length=str(len(BODY) - 1)),
            request(Content_Length=str(len(BODY) + 1)),
            request(Content_Length=f"+{len(BODY)}"),
            request(Content_Length=f"0{len(BODY)}"),
            request(Content_Length=f"{len(BODY)}, {len(BODY)}"),
            request(content_length=str(len(BODY))),
            request(x_edgeward_session="\xff"),
            request(x_edgeward_session="a\rb"),
            request(x_edgeward_session="a\nContent-Length: 3"),
            request(x_edgeward_session="a\r\n folded"),
            request(x_edgeward_session="a\0b"),
            request().replace(b"Host: x", b"Host : x"),
            request().replace(b"\r\nHost", b"\nHost"),
            request().replace(b"Host: x\r\n", b"Host x\r\n"),
            request()[:-1],
            request() + b"G",
            request() * 2,
            request(b" " * 9000 + BODY),
            request()[: request().index(b"\r\n\r\n")],
            b"",
        ],
    )
    def test_what_it_leaves_to_aiohttp(self, raw):
        assert parse(raw) is None

    @given(st.binary(max_size=200), st.integers(0, 120), st.integers(0, 40))
    def test_no_bytes_break_it(self, noise, at, cut_bytes):
        raw = request()
        spoilt = raw[:at] + noise + raw[at + cut_bytes :]
        parsed = parse(spoilt)
        if parsed is not None:  # then it is one whole message, and the lengths agree
            _, headers, body = parsed
            assert spoilt.endswith(b"\r\n\r\n" + body)
            assert int(headers[b"content-length"]) == len(body)
            assert b"transfer-encoding" not in spoilt.lower().partition(b"\r\n\r\n")[0]


class TestSilence:
    @pytest.fixture
    def config(self, config):
        return dataclasses.replace(config, connection_idle_s=0.2)

    @pytest.mark.parametrize("head", [b"", b"POST /v1/rou", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: "])
    async def test_a_connection_that_sends_no_whole_head_is_closed(self, connect, head):
        connection = await connect()
        await connection.send(head)
        assert not (await connection.ended()).startswith(b"HTTP/1.1 2")

    async def test_a_slow_head_is_cut_off_however_it_dribbles(self, connect):
        connection = await connect()
        begun_s = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for piece in itertools.chain([b"GET /healthz HTTP/1.1\r\nX-A: "], itertools.repeat(b"x")):
                await connection.send(piece)
                await asyncio.sleep(0.02)
                assert time.monotonic() - begun_s < 5
                if connection.reader.at_eof():
                    break
        assert time.monotonic() - begun_s >= 0.15

    async def test_one_that_goes_on_asking_for_lists_is_kept(self, connect, handed_on):
        connection = await connect()
        for _ in range(5):
            await connection.send(request())
            assert (await connection.response())[0] == 200
            await asyncio.sleep(0.1)
        assert handed_on == {"answered": 5, "left": 0}
        assert await connection.ended() == b""
