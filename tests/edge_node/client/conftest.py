"""A network that does what a test scripts: one aiohttp server that plays the origin and several nodes."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import msgpack
import pytest
import zstandard
from aiohttp import web
from aiohttp.test_utils import TestServer

from edge_node.client import AsyncClient, ClientConfig, patience
from origin.api import CatalogAnswer, Place, RankedNode, ReleaseSummary, RouteAnswer
from origin.api_fleet import NodeList
from registry.wire import to_msgpack
from tests.virtual_loop import PatientLoop, VirtualLoop

PATIENT = {"test_background", "test_failover", "test_handing_on", "test_hedges", "test_silent_streams"}
FRAMES = "application/x-edgeward-frames+msgpack"


def pytest_asyncio_loop_factories(config, item):
    """Whole fleets in this process are given the time that they need; where there is no socket, time is virtual."""
    if item.path.stem == "test_silence":
        return {"virtual": VirtualLoop}
    return {"patient": PatientLoop} if item.path.stem in PATIENT else {"real": asyncio.SelectorEventLoop}


def chunk(text="", finish=None, **more):
    delta = {"content": text} if text else {}
    return {
        "object": "chat.completion.chunk",
        "model": "chat@1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


USAGE_CHUNK = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
WHOLE = {
    "object": "chat.completion",
    "model": "chat@1",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "The Loire."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}


def failure(code, status, message="no", **headers):
    body = {"error": {"message": message, "type": "x", "param": None, "code": code}}
    return web.json_response(
        body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def packed(plain, *, zstd=True, **headers):
    data = msgpack.packb(plain)
    head = {"content-type": "application/msgpack", **headers}
    if zstd:
        data, head["content-encoding"] = zstandard.compress(data), "zstd"
    return web.Response(body=data, headers=head)


class Network:
    """`script[node]` is a list of answers, each a callable of the request; the last one is repeated."""

    def __init__(self):
        self.script = defaultdict(list)
        self.asked = []
        self.bodies = []
        self.heads = []
        self.routes = []
        self.route_queries = []
        self.origin_up = True
        self.releases = (("chat", "gguf"), ("embed", "onnx"))
        app = web.Application()
        app.router.add_post("/v1/route", self.route)
        app.router.add_get("/v1/nodes", self.nodes)
        app.router.add_get("/v1/catalog", self.catalog)
        app.router.add_post("/{node}/v1/{path:.*}", self.answer)
        app.router.add_post("/{node}/v2/{path:.*}", self.answer)
        self.server = TestServer(app)

    def url(self, node):
        return str(self.server.make_url(f"/{node}"))

    def ranked(self, node, **more):
        return RankedNode(
            **{
                "node_id": node, "url": self.url(node), "label": node.title(), "place": Place(48.85, 2.35),
                "distance_km": 12.5, "rtt_ms": 24.2, "score_s": 0.1, "terms_s": {"rtt": 0.1}, "version": "1", **more,
            }
        )  # fmt: skip

    def serve(self, *nodes, ttl_s=60.0, **more):
        ranked = tuple(self.ranked(node, **more) for node in nodes)
        self.routes = [RouteAnswer(model="chat", nodes=ranked, ttl_s=ttl_s, place=None, place_source="none")]

    async def route(self, request):
        query = msgpack.unpackb(await request.read())
        self.route_queries.append(query)
        if not self.origin_up:
            return web.Response(status=502, text="the proxy says no")
        answer = self.routes[0] if len(self.routes) == 1 else self.routes.pop(0)
        if isinstance(answer, web.Response):
            return answer
        left = tuple(node for node in answer.nodes if node.node_id not in query.get("exclude", ()))
        if not left:
            return failure("node.none_available", 503)
        return packed(msgpack.unpackb(to_msgpack(RouteAnswer(
            model=answer.model, nodes=left, ttl_s=answer.ttl_s, place=None, place_source="none",
        ))), zstd=False)  # fmt: skip

    async def nodes(self, _request):
        return packed(msgpack.unpackb(to_msgpack(NodeList(()))), zstd=False)

    async def catalog(self, _request):
        releases = tuple(
            ReleaseSummary(
                name=name, version="1", kind=kind, architecture="", quantization="", total_bytes=1, stored_bytes=1,
                manifest_sha256="0" * 64, created_unix_s=0,
            )
            for name, kind in self.releases
        )  # fmt: skip
        channels = {name: {"stable": "1"} for name, _ in self.releases}
        return packed(
            msgpack.unpackb(to_msgpack(CatalogAnswer(releases=releases, channels=channels))), zstd=False
        )

    async def answer(self, request):
        node = request.match_info["node"]
        self.asked.append(node)
        self.heads.append(request.headers)
        raw = await request.read()
        if request.headers.get("content-encoding") == "zstd":
            raw = zstandard.ZstdDecompressor().decompress(raw, max_output_size=2**24)
        stated = request.headers["content-type"]
        self.bodies.append(msgpack.unpackb(raw) if stated == "application/msgpack" else {"tensors": raw})
        steps = self.script[node]
        step = steps[0] if len(steps) == 1 else steps.pop(0)
        result = step(request)
        return await result if hasattr(result, "__await__") else result


def streaming(pieces, *, form="frames", zstd=False, cut=None, end=True, read=None):
    """An answer that writes these chunks; `cut` re-cuts the bytes, `end=False` breaks the connection.

    A break takes with it what was sent and not read yet; it waits for `read`, an event, if there is one.
    """

    async def respond(request):
        import json

        kind = FRAMES if form == "frames" else "text/event-stream"
        response = web.StreamResponse(headers={"content-type": kind, "x-edgeward-node": "named"})
        packer = None
        if zstd:
            response.headers["content-encoding"] = "zstd"
            packer = zstandard.ZstdCompressor().compressobj()
        await response.prepare(request)
        for piece in [*pieces, *([b"data: [DONE]\n\n"] if form == "sse" and end else [])]:
            if isinstance(piece, bytes):
                data = piece
            elif form == "frames":
                data = msgpack.packb(piece)
            else:
                data = b": note\r\n\r\ndata: " + json.dumps(piece).encode() + b"\n\n"
            if packer:
                data = packer.compress(data) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            for start in range(0, len(data), cut or len(data) or 1):
                await response.write(data[start : start + (cut or len(data))])
        if not end:
            if read is not None:
                await read.wait()
            request.transport.close()
            return response
        await response.write_eof()
        return response

    return respond


@pytest.fixture
async def network():
    net = Network()
    # As the node does it: aiohttp's server cannot unpack zstd by itself.
    await net.server.start_server(auto_decompress=False)
    yield net
    await net.server.close()


@pytest.fixture
async def client(network):
    config = ClientConfig(origin=(str(network.server.make_url("")).rstrip("/"),), timeout_s=5.0)
    async with AsyncClient(config=config, place=(48.85, 2.35)) as ready:
        yield ready


@pytest.fixture
def make():
    """What tests write answers with."""

    class Make:
        chunk = staticmethod(chunk)
        failure = staticmethod(failure)
        packed = staticmethod(packed)
        streaming = staticmethod(streaming)
        usage_chunk = USAGE_CHUNK
        whole = WHOLE

    return Make


@pytest.fixture
def hasty(monkeypatch):
    """Silent nodes are looked at after 50 ms, and have 50 ms to answer."""
    for name in ("FIRST_CHECK_LEAST_S", "FIRST_CHECK_MOST_S", "CHECK_LEAST_S", "CHECK_MOST_S"):
        monkeypatch.setattr(patience, name, 0.05)
