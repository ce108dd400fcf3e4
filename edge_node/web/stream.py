"""A streamed response: server-sent events, or msgpack maps one after the other, either of them in zstd on request.

Server-sent events: `data: {…}`, comments (`: queued place=3`) as signs of life, `data: [DONE]` at the end. Frames
(Accept: application/x-edgeward-frames+msgpack): one map a chunk, `{"object": "edgeward.alive"}` as a sign of life and
`{"object": "edgeward.done"}` at the end; msgpack's streaming `Unpacker` reads them. A failure in the middle is an
event with `error`, and then the end without `[DONE]`: never a silent close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zstandard
from aiohttp import web

from edge_node.api.stream_forms import FRAMES_TYPE, SSE_TYPE, STREAM_ENCODING
from edge_node.web.parts import PARTS, exchange_of
from edge_node.web.replay import REPLAYS, etag_of
from registry.bodies import ZSTD_LEVEL, names_type
from registry.wire import to_json, to_msgpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_node.api.replies import ErrorBody


class ChunkStream:
    """One response that is written chunk by chunk."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._framed = names_type(request.headers.get("Accept", ""), FRAMES_TYPE)
        # Relays copy Content-Encoding without the bytes to match, so only a client that asks here gets zstd.
        packed = request.headers.get(STREAM_ENCODING, "").strip().lower() == "zstd"
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj() if packed else None
        self._kept: list[bytes] | None = None
        self._raw_bytes = 0
        self._sent_bytes = 0
        self.response = web.StreamResponse()

    async def open(self, headers: Mapping[str, str]) -> None:
        """Send the head: status 200 and these headers."""
        response = self.response
        response.headers.update(headers)
        response.content_type = FRAMES_TYPE if self._framed else SSE_TYPE
        response.headers["Vary"] = f"Accept, {STREAM_ENCODING}"
        exchange = exchange_of(self._request)
        if exchange.body_key is not None and exchange.account.cache in {"hit", "coalesced"}:
            self._kept = []
        # nginx would otherwise hold the events back.
        response.headers["X-Accel-Buffering"] = "no"
        if self._compressor is not None:
            response.headers["Content-Encoding"] = "zstd"
        exchange.stream = self
        await response.prepare(self._request)

    async def send(self, chunk: Any, name: str = "") -> None:
        """One chunk; server-sent events say its name, if it has one."""
        if self._framed:
            await self._write(to_msgpack(chunk))
        else:
            named = f"event: {name}\n".encode() if name else b""
            await self._write(named + b"data: " + to_json(chunk) + b"\n\n")

    async def live(self, state: str, facts: Mapping[str, float] | None = None) -> None:
        """A sign of life that no client takes for an answer, with what is known of how far it is."""
        facts = facts or {}
        if self._framed:
            await self._write(to_msgpack({"object": "edgeward.alive", "state": state, **facts}), sign=True)
        else:
            words = " ".join((state, *(f"{name}={value:g}" for name, value in facts.items())))
            await self._write(f": {words}\n\n".encode(), sign=True)

    async def finish(self, *, done: bool = True) -> None:
        """The end of a whole answer; server-sent events say so unless their last one did (not `done`)."""
        if self._framed or done:
            await self._write(
                to_msgpack({"object": "edgeward.done"}) if self._framed else b"data: [DONE]\n\n"
            )
        await self._end()
        self._keep()

    async def fail(self, error: ErrorBody) -> None:
        """The end of an answer that failed in the middle."""
        self._kept = None
        await self.send(error)
        await self._end()

    async def _write(self, data: bytes, *, sign: bool = False) -> None:
        self._raw_bytes += len(data)
        if self._kept is not None and not sign:
            self._kept.append(data)
        if self._compressor is not None:
            data = self._compressor.compress(data) + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        await self._put(data)

    def _keep(self) -> None:
        """Keep the events, without the signs of life, for the next one who asks exactly this."""
        exchange = exchange_of(self._request)
        if self._kept is None or exchange.body_key is None or not exchange.account.stamp:
            return
        body = b"".join(self._kept)
        headers = {
            "Content-Type": self.response.headers["Content-Type"],
            "Vary": self.response.headers["Vary"],
            "x-edgeward-release": exchange.account.release,
        }
        self._request.app[REPLAYS].keep(
            exchange.body_key, exchange.account, body, headers=headers, etag=etag_of(body), streamed=True
        )

    async def _end(self) -> None:
        if self._compressor is not None:
            await self._put(self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
            metrics = self._request.app[PARTS].metrics
            metrics.payload_compressed(raw_bytes=self._raw_bytes, zstd_bytes=self._sent_bytes)
        await self.response.write_eof()

    async def _put(self, data: bytes) -> None:
        self._sent_bytes += len(data)
        exchange_of(self._request).account.response_bytes = self._sent_bytes
        await self.response.write(data)
