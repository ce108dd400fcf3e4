import random

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
