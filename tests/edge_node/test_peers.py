import asyncio
import contextlib
import gzip
import random
import time

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from edge_node.errors import NodeUnreachableError
from edge_node.install import install
from edge_node.model_store import ModelStore
from edge_node.peers import Exchange
from edge_node.web.parts import PARTS
from origin.api import Peer
from registry.digest import digest_of
from registry.errors import ChunkMismatchError
from registry.progress import ignore_progress

CHUNKS = [random.Random(number).randbytes(300_000) for number in range(6)]


@pytest.fixture
async def holder(tmp_path, make_front, scripted_origin, trust):
    """A node's front that offers chat@1."""
    wanted = scripted_origin.publish("chat", "1", CHUNKS)
    front = await make_front()
    directory = await bring(tmp_path / "holder", scripted_origin, wanted, None, trust)
    shelf = front.client.server.app[PARTS].shelf
    shelf.offer_whole({wanted.manifest_sha256: directory})
    return wanted, front, str(front.client.make_url("/"))


async def bring(place, origin, wanted, neighbours, trust):
    async def nothing():
        raise AssertionError

    place.mkdir()
    store = ModelStore(place).open()
    try:
        installed = await install(
            wanted, source=origin, trust=trust, store=store, local=(), evict=nothing, progress=ignore_progress,
            concurrency_count=2, neighbours=neighbours,
        )  # fmt: skip
    finally:
        store.close()
    return installed.release.directory


@pytest.fixture
async def exchange():
    exchange = Exchange("asker")
    yield exchange
    await exchange.book.close()


async def test_a_node_gives_what_it_holds(holder):
    wanted, front, _ = holder
    async with front.client.get(f"/v1/chunks/have?manifest={wanted.manifest_sha256}") as reply:
        assert (reply.status, await reply.read()) == (200, b"\x3f")
    async with front.client.get(f"/v1/chunks/{digest_of(CHUNKS[2])}") as reply:
        assert (reply.status, await reply.read()) == (200, CHUNKS[2])
        assert "immutable" in reply.headers["Cache-Control"]
    assert b"edge_chunks_served_bytes_total 300000.0" in front.metrics.page()


async def test_what_it_does_not_hold_is_said_plainly(holder):
    _, front, _ = holder
    other = digest_of(b"other")
    async with front.client.get(f"/v1/chunks/have?manifest={other}") as reply:
        assert reply.status == 204
    async with front.client.get(f"/v1/chunks/{other}") as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (404, "chunk.missing")
    for path in ("/v1/chunks/have", "/v1/chunks/have?manifest=..", "/v1/chunks/passwd"):
        async with front.client.get(path) as reply:
            assert reply.status == 400


async def test_a_fetch_takes_chunks_from_a_peer_over_http(tmp_path, holder, exchange, scripted_origin, trust):
    wanted, _, url = holder
    exchange.book.heard({wanted.manifest_sha256: (Peer("holder", url),)})
    before_count = scripted_origin.requests_count
    directory = await bring(
        tmp_path / "asker", scripted_origin, wanted, exchange.neighbours(wanted.manifest_sha256), trust
    )
    assert (directory / "files/model.gguf").read_bytes() == b"".join(CHUNKS)
    assert scripted_origin.requests_count - before_count < len(CHUNKS)
    assert exchange.shelf.have(wanted.manifest_sha256) == b"\x3f"


async def test_peers_that_misbehave_are_errors_of_their_own_kind(exchange):
    async def endless(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(bytes(65536))
        except ConnectionResetError:
            return answer

    async def broken(request):
        raise web.HTTPInternalServerError

    app = web.Application()
    app.add_routes([web.get("/v1/chunks/have", broken), web.get("/v1/chunks/{digest}", endless)])
    async with TestServer(app) as server:
        exchange.book.heard(
            {"m": (Peer("bad", str(server.make_url(""))), Peer("gone", "http://127.0.0.1:9"))}
        )
        bad, gone = exchange.book.of("m")
        assert (bad.name, gone.name) == ("bad", "gone")
        with pytest.raises(ChunkMismatchError, match="more than the 100000 bytes"):
            await bad.chunk("0" * 64, 100_000)
        with pytest.raises(NodeUnreachableError, match="500"):
            await bad.have("0" * 64)
        with pytest.raises(NodeUnreachableError, match="gone"):
            await gone.have("0" * 64)
    assert exchange.book.of("other") == ()


OK = b"HTTP/1.1 200 OK\r\n"
LIES = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/0.9": b"hello",
    "HTTP/9.9": b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no such status": b"HTTP/1.1 99999999999 OK\r\n\r\n",
    "no status": b"HTTP/1.1 two OK\r\n\r\n",
    "half a head": OK + b"Content-Le",
    "half a body": OK + b"Content-Length: 99\r\n\r\nhalf",
    "no length": OK + b"Content-Length: many\r\n\r\n",
    "a length below nothing": OK + b"Content-Length: -1\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length over the limit": OK + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "no chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "no deflate": OK + b"Content-Encoding: deflate\r\nContent-Length: 4\r\n\r\nabcd",
    "no zstd": OK + b"Content-Encoding: zstd\r\nContent-Length: 4\r\n\r\nabcd",
    "no brotli": OK + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd",
    "a bomb": OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(2**26)),
    "too many headers": OK + b"".join(b"A%d: b\r\n" % number for number in range(2000)) + b"\r\n",
    "a header of 1 MiB": OK + b"A: " + bytes(2**20) + b"\r\n\r\n",
    "a header that is not text": OK + b"X-Edgeward-Variants: \xff\xfe\r\nContent-Length: 2\r\n\r\n" + bytes(2000),
    "somewhere else": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
    "nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "cookies": OK + b"Set-Cookie: a=\x01; expires=never\r\nSet-Cookie: =;;\r\n\r\n" + bytes(4000),
}  # fmt: skip


@contextlib.asynccontextmanager
async def speaking(book, speak):
    """A peer that says whatever `speak` writes."""
    tasks = []

    async def serve(reader, writer):
        tasks.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await speak(writer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        book.heard({"m": (Peer("liar", f"http://127.0.0.1:{port}"),)})
        [peer] = book.of("m")
        yield peer
        await book.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.parametrize("lie", LIES)
async def test_whatever_a_peer_says_is_an_error_of_its_own_kind_or_the_wrong_bytes(exchange, lie):
    async def speak(writer):
        writer.write(LIES[lie])

    async with asyncio.timeout(60), speaking(exchange.book, speak) as liar:
        with pytest.raises((NodeUnreachableError, ChunkMismatchError)):
            await liar.chunk("0" * 64, 1000)
        with contextlib.suppress(NodeUnreachableError, ChunkMismatchError):
            assert isinstance(await liar.have("0" * 64), bytes)


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (OK + b"Content-Length: 1000\r\n\r\n", b"x"),
        (OK, b"A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_a_peer_that_never_ends_is_given_up(exchange, monkeypatch, head, more):
    for name in ("_CONNECT_S", "_SILENCE_S"):
        monkeypatch.setattr(f"edge_node.peers.{name}", 0.3)
    monkeypatch.setattr("edge_node.peers._SLOWEST_BYTES_PER_S", 1000, raising=False)

    async def speak(writer):
        writer.write(head)
        while True:  # never silent for as long as it may be
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0.1)

    async with asyncio.timeout(60), speaking(exchange.book, speak) as endless:
        begun_s = time.monotonic()
        with pytest.raises(NodeUnreachableError):
            await endless.chunk("0" * 64, 1000)
        assert time.monotonic() - begun_s >= 0.5
