"""OriginClient with several origins: the first that answers, soon, and each report once."""

import asyncio
import contextlib
import socket
import time

import pytest

from origin.api import Directive, NodeReport
from origin.calling import hurried
from origin.client import OriginClient
from origin.errors import FleetFullError, OriginRefusedError, OriginUnreachableError
from origin.web.payload import MSGPACK_TYPE
from registry.errors import InputInvalidError
from registry.wire import to_json, to_msgpack

REPORT = NodeReport(node_id="paris", incarnation=1, number=1, url="http://n:1")


class Scripted:
    """A server that answers reports as told; `hang` never does."""

    def __init__(self):
        self.requests_count, self.hang, self.status = 0, False, 200
        self.body = to_msgpack(Directive(wanted=None, heartbeat_s=1.0))
        self.kind = MSGPACK_TYPE

    async def start(self):
        self.server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    def say(self, **fields):
        self.body = to_msgpack(Directive(wanted=None, heartbeat_s=1.0, **fields))

    def refuse(self, status, body):
        self.status, self.body, self.kind = status, body, "application/json"

    async def _connected(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.requests_count += 1
            if self.hang:
                await reader.read()
            else:
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                    % (self.status, self.kind.encode(), len(self.body), self.body)
                )
                await writer.drain()
        writer.close()


@pytest.fixture
async def two():
    servers = [await Scripted().start(), await Scripted().start()]
    yield servers
    for server in servers:
        server.server.close()


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def test_a_dead_one_is_passed_over_at_once_and_then_left_alone(two):
    first, _ = two
    async with OriginClient([closed_port(), first.url]) as client:
        started_s = time.monotonic()
        for _ in range(3):
            await client.report(REPORT)
        assert time.monotonic() - started_s < 1
        assert client.answering_url == first.url
    assert first.requests_count == 3


async def test_one_that_hangs_is_given_up_within_about_a_second(two):
    two[0].hang = True
    async with OriginClient([server.url for server in two]) as client:
        started_s = time.monotonic()
        await client.report(REPORT)
        assert time.monotonic() - started_s < 2
        await client.report(REPORT)
    assert [server.requests_count for server in two] == [1, 2]


async def test_the_last_one_is_given_all_the_patience(two):
    timeout = OriginClient("http://o", timeout_s=10)._calls.call_timeout
    assert (hurried(timeout).sock_connect, hurried(timeout).sock_read) == (1.0, 1.0)
    assert timeout.sock_read == 10


async def test_a_gateway_without_an_origin_behind_it_is_passed_over(two):
    two[0].refuse(502, b"<html>bad gateway</html>")
    async with OriginClient([server.url for server in two]) as client:
        await client.report(REPORT)
        assert client.answering_url == two[1].url


async def test_a_full_fleet_is_tried_elsewhere_without_blame(two):
    two[0].refuse(503, to_json({"error": {"message": "full", "code": "fleet.full"}}))
    async with OriginClient([server.url for server in two]) as client:
        await client.report(REPORT)
        await client.report(REPORT)
        assert [server.requests_count for server in two] == [2, 2]
    two[1].refuse(503, to_json({"error": {"message": "full", "code": "fleet.full"}}))
    async with OriginClient([server.url for server in two]) as client:
        with pytest.raises(FleetFullError):
            await client.report(REPORT)


async def test_a_refusal_is_the_callers_and_is_not_repeated(two):
    two[0].refuse(400, to_json({"error": {"message": "no", "code": "input.invalid"}}))
    async with OriginClient([server.url for server in two]) as client:
        with pytest.raises(InputInvalidError):
            await client.report(REPORT)
    assert two[1].requests_count == 0


async def test_when_all_are_gone_that_is_said():
    async with OriginClient([closed_port(), closed_port()]) as client:
        with pytest.raises(OriginUnreachableError):
            await client.report(REPORT)


async def test_the_last_gateway_failure_is_told(two):
    two[0].refuse(502, b"bad")
    async with OriginClient([closed_port(), two[0].url]) as client:
        with pytest.raises(OriginRefusedError):
            await client.report(REPORT)


async def test_others_are_learnt_from_the_one_that_answers(two):
    first, second = two
    first.say(origins=(first.url, second.url, "not a url"))
    async with OriginClient(first.url) as client:
        await client.report(REPORT)
        first.server.close()
        await first.server.wait_closed()
        await client.report(REPORT)
        assert client.answering_url == second.url
        assert client.url == first.url


async def test_while_an_origin_is_cut_off_the_others_hear_the_report_as_well(two):
    first, second = two
    first.say(origins=(first.url, second.url), cut_off=True)
    async with OriginClient(first.url) as client:
        await client.report(REPORT)
        async with asyncio.timeout(5):
            while second.requests_count < 1:  # noqa: ASYNC110  # a socket's other end
                await asyncio.sleep(0.005)
        second.hang = True
        for _ in range(20):
            await client.report(REPORT)  # nobody waits for the one that hangs, and it is asked once
        assert len(client._besides) <= 1
    assert second.requests_count <= 2
    first.say(origins=(first.url, second.url))
    counted = second.requests_count
    async with OriginClient([first.url, second.url]) as client:
        await client.report(REPORT)
        assert not client._besides
    assert second.requests_count == counted
