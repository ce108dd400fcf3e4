"""Nodes on ports of their own that can be killed, hung, slowed and made to fail, and an origin that knows nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress

import msgpack

from origin.api import Peer, RankedNode, RouteAnswer, RouteQuery, RttReport
from registry.wire import from_msgpack, to_msgpack

FRAMES = "application/x-edgeward-frames+msgpack"
ANSWER = json.dumps(
    {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}], "model": "chat@1"}
).encode()
VECTORS = json.dumps({"data": [{"embedding": [1.0], "index": 0}], "model": "embed@1"}).encode()
STATUS = {"error": 500, "busy": 429, "loading": 503, "missing": 404}
CODES = {"busy": "node.overloaded", "loading": "model.not_ready", "missing": "model_not_found"}


def head_of(status, body, **headers):
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", "content-type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class FaultyNode:
    """One node; `mode` says what it does with requests, `asked_count` how many came (probes apart)."""

    def __init__(self, name, delay_s=0.0):
        self.name = name
        self.mode = "ok"
        self.delay_s = delay_s
        self.slow_s = 0.3
        self.location = ""
        self.asked_count = 0
        self.gone_count = 0
        self.probes_count = 0
        self.connections_count = 0
        self.probes_blocked = False
        self.heads = []
        self.port = 0
        self._server = None
        self._writers = set()
        self._hole = None
        self._fillers = []
        self._changed = asyncio.Event()

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def set(self, mode):
        """Change what it does; `down` closes the port and every connection, `dark` drops every SYN."""
        if self._hole is not None:
            for held in (self._hole, *self._fillers):
                held.close()
            self._hole, self._fillers = None, []
        if mode in {"down", "dark"} and self._server is not None:
            await self._stop()
        if mode not in {"down", "dark"} and self._server is None:
            await self.start()
        if mode == "dark":
            self._dig()
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    async def _stop(self):
        server, self._server = self._server, None
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await server.wait_closed()

    def _dig(self):
        """A listening socket whose queue is full: the kernel then drops what knocks."""
        self._hole = socket.socket()
        self._hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._hole.bind(("127.0.0.1", self.port))
        self._hole.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._fillers.append(filler)

    async def stop(self):
        await self.set("down")

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        self.connections_count += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
                await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split(" ", 2)
                await self._answer(method, path, headers, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # cancelled by the end of the loop, of which Python 3.11's streams make a noise
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _stream(self, writer):
        """Pieces without end, until the mode changes; a node that hangs keeps the connection open."""
        writer.write(f"HTTP/1.1 200 x\r\ncontent-type: {FRAMES}\r\nconnection: close\r\n\r\n".encode())
        while self.mode == "ok":
            writer.write(msgpack.packb({"choices": [{"delta": {"content": "more "}}]}))
            await writer.drain()
            await asyncio.sleep(0.01)
        while self.mode in {"pause", "hang"}:
            await self._changed.wait()
        writer.write(msgpack.packb({"choices": [{"delta": {"content": "end"}, "finish_reason": "stop"}]}))
        writer.close()

    async def _answer(self, method, path, headers, reader, writer):
        self.asked_count += method != "HEAD"
        while self.mode == "hang":  # and goes on when it does so no more, as a stopped process does
            await self._changed.wait()
        if method == "HEAD":
            self.probes_count += 1
            if self.probes_blocked:
                await asyncio.sleep(3600)
            await asyncio.sleep(self.delay_s)
            writer.write(head_of(200, b""))
            return
        mode = self.mode
        self.heads = [*self.heads[-99:], headers]
        if mode == "reset":
            writer.transport.abort()
            return
        await asyncio.sleep(self.delay_s + (self.slow_s if mode == "slow" else 0.0))
        if reader.at_eof():
            self.gone_count += 1
            return
        if mode == "hand_on":
            writer.write(head_of(307, b"", location=self.location + path))
        elif mode in STATUS:
            error = {"error": {"message": mode, "code": CODES.get(mode)}}
            body = json.dumps(error).encode()
            writer.write(head_of(STATUS[mode], body, retry_after="1") + body)
        elif headers.get("accept", "").startswith(FRAMES):
            await self._stream(writer)
        else:
            body = VECTORS if "embeddings" in path else ANSWER
            writer.write(head_of(200, body, x_edgeward_node=self.name) + body)
        await writer.drain()


class BlindOrigin:
    """Ranks the nodes as it was made to, and learns nothing of them; it honours `exclude`."""

    def __init__(self, nodes, ttl_s=60.0, shown=4):
        self.nodes = nodes
        self.ttl_s = ttl_s
        self.shown = shown
        self.up = True
        self.queries = []
        self.reports = []
        self.takes_reports = True
        self.refused_count = 0
        self.hangs = False
        self.ticket = ""
        self.each_s = 0.0
        self.curious_about = []
        self.port = 0
        self._server = None

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def stop(self):
        self._server.close()

    async def _serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    int(line.split(":")[1])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length")
                )
                body = await reader.readexactly(length)
                if not self.up:
                    return
                if self.hangs:
                    await asyncio.sleep(3600)
                status, data = self._reply(head, body)
                kind = b"HTTP/1.1 %d x\r\ncontent-type: application/msgpack\r\ncontent-length: %d\r\n\r\n"
                writer.write(kind % (status, len(data)) + data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _reply(self, head, body):
        if head.startswith("POST /v1/rtts"):
            if not self.takes_reports:
                self.refused_count += 1
                return 404, b""
            self.reports.append(from_msgpack(body, RttReport))
            return 200, msgpack.packb({"taken_count": len(self.reports[-1].probes)})
        query = from_msgpack(body, RouteQuery)
        self.queries.append(query)
        left = [node for node in self.nodes if node.name not in query.exclude][: self.shown]
        if not left:
            return 503, b'{"error": {"message": "nobody", "code": "node.none_available"}}'
        return 200, to_msgpack(
            RouteAnswer(
                model=query.model, nodes=tuple(self._ranked(node) for node in left), ttl_s=self.ttl_s,
                place=None, place_source="none", ticket=self.ticket,
                probes=tuple(Peer(node.name, node.url) for node in self.curious_about),
            )
        )  # fmt: skip

    def _ranked(self, node):
        rtt_ms, index = 5.0, self.nodes.index(node)
        return RankedNode(
            node_id=node.name, url=node.url, label=node.name, place=None, distance_km=None, rtt_ms=rtt_ms,
            score_s=0.05 + 0.05 * index, terms_s={"network": rtt_ms / 1000}, version="1", each_s=self.each_s,
        )  # fmt: skip
