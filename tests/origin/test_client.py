"""OriginClient against things that are no origin: silence, closed ports, other servers, unknown refusals."""

import asyncio
import contextlib
import socket

import aiohttp
import pytest

from origin.api import RouteQuery
from origin.calling import refusal
from origin.client import OriginClient
from origin.errors import NoNodeAvailableError, OriginRefusedError, OriginUnreachableError
from registry.errors import ConfigError, EdgewardError, InputInvalidError, ObjectMissingError
from registry.wire import from_msgpack, to_json, to_msgpack


def error_body(code, message="why", param=None):
    return to_json({"error": {"message": message, "type": "x", "param": param, "code": code}})


@pytest.fixture
async def answering_with():
    """A server that gives the same bytes to every request and closes; nothing at all for b""; gives its URL."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(answer):
            async def connected(reader, writer):
                with contextlib.suppress(asyncio.IncompleteReadError):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(answer)
                    if not answer:
                        await reader.read()
                writer.close()
                await writer.wait_closed()

            server = await asyncio.start_server(connected, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield start


def test_what_is_no_url_is_refused_at_once():
    with pytest.raises(ConfigError, match="http://"):
        OriginClient("127.0.0.1:7700")


async def test_a_closed_port_is_an_unreachable_origin():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with OriginClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(OriginUnreachableError, match=rf"127\.0\.0\.1:{port}.*is it up\?"):
            await client.nodes()


async def test_a_silent_server_is_an_unreachable_origin(answering_with):
    async with OriginClient(await answering_with(b""), timeout_s=0.05) as client:
        with pytest.raises(OriginUnreachableError, match="did not answer in time"):
            await client.nodes()


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"],
)
async def test_a_broken_answer_is_an_unreachable_origin(answering_with, answer):
    async with OriginClient(await answering_with(answer)) as client:
        with pytest.raises(OriginUnreachableError):
            await client.nodes()


async def test_another_server_is_told_apart(answering_with):
    page = b"<html>welcome</html>"
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nLocation: http://x.example/\r\n\r\n%s"
    for status in (b"404 Not Found", b"302 Found"):
        async with OriginClient(await answering_with(head % (status, len(page), page))) as client:
            with pytest.raises(OriginRefusedError, match="no error of an origin") as caught:
                await client.nodes()
            assert caught.value.remote_status == int(status[:3])
    async with OriginClient(await answering_with(head % (b"200 OK", len(page), page))) as client:
        with pytest.raises(OriginRefusedError, match="is no origin"):
            await client.nodes()
        with pytest.raises(OriginRefusedError, match="Range"):
            await client.read_range("packs/ab/cd", 0, 20)


async def test_a_given_session_is_left_open(origin):
    async with aiohttp.ClientSession() as session:
        async with OriginClient(origin.url, session=session) as client:
            assert (await client.nodes()).nodes == ()
        assert not session.closed


def test_a_known_code_becomes_its_class():
    error = refusal(
        503, error_body("node.none_available", param="model"), {"retry-after-ms": "1500"}, "http://o"
    )
    assert type(error) is NoNodeAvailableError
    assert (error.message, error.param, error.retry_after_s) == ("why", "model", 1.5)
    assert type(refusal(404, error_body("store.object_missing"), {}, "u")) is ObjectMissingError
    assert type(refusal(400, error_body("input.invalid"), {"Retry-After": "7"}, "u")) is InputInvalidError


@pytest.mark.parametrize("code", ["of.tomorrow", "internal", None])
def test_an_unknown_code_keeps_status_and_code(code):
    error = refusal(418, error_body(code), {"Retry-After": "soon"}, "http://o")
    assert isinstance(error, EdgewardError)
    assert (error.remote_status, error.remote_code, error.message) == (418, code or "", "why")
    assert error.retry_after_s is None


async def test_a_refused_query_names_its_field(origin):
    with pytest.raises(InputInvalidError, match="limit") as caught:
        await origin.client.route(RouteQuery(model="chat", limit=99))
    assert caught.value.param == "limit"


def test_a_question_says_only_what_differs_from_the_default():
    """An origin of an earlier version refuses fields that it does not know: they are sent where they are used alone."""
    assert from_msgpack(to_msgpack(RouteQuery(model="chat")), dict) == {"model": "chat"}
