"""A response that was made before for exactly this request, sent again without reading the request.

The key is the raw body with the headers that shape an answer, so a repeated question is answered before it is parsed,
routed through the API's checks, or given an account. What must still hold is looked at each time: that the model's
name means the release that answered, that the node is not draining, and the answer's age. A request with a
Cache-Control takes the long way.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import HttpVersion11, web

from edge_node.api.stream_forms import STREAM_ENCODING
from edge_node.cache.answers import Rendering
from edge_node.cache.keys import digest
from edge_node.cache.terms import STORED_CONTROL, cache_status, matches
from edge_node.web.letting_in import caller_of
from origin.tickets import without_ticket
from registry.bodies import COMPRESSED_ABOVE_BYTES, accepts_zstd
from registry.log import LineBudget
from registry.wire import to_msgpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter

    from edge_node.account import Account
    from edge_node.web.parts import NodeParts

log = structlog.get_logger()

_WIDE_LINES_PER_S = 10
_SHAPING_HEADERS: Final = ("Content-Type", "Content-Encoding", "Accept")


class Sent(web.StreamResponse):
    """A response whose bytes are on their way already."""

    def __init__(self, status: int) -> None:
        super().__init__(status=status)

    @property
    def keep_alive(self) -> bool:
        """Only kept connections come this way."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        """Nothing is left to do."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to do."""


class Replays:
    """Responses by raw request.

    Args:
        parts: of the node.
    """

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self._cache = parts.cache
        self._ids = itertools.count(1)
        self._id_prefix = secrets.token_hex(10)
        self._lines = LineBudget(_WIDE_LINES_PER_S)
        self._date_line = b""
        self._date_s = 0

    def key(self, request: web.Request, body: bytes) -> bytes | None:
        """The name of a response to exactly this; None when none is kept or allowed."""
        headers = request.headers
        if not self._cache.on or "Cache-Control" in headers:
            return None
        shaping = [headers.get(name, "").encode("utf-8", "surrogateescape") for name in _SHAPING_HEADERS]
        # Every redirect has a ticket of its own, and no answer depends on it.
        path = without_ticket(request.raw_path).encode("utf-8", "surrogateescape")
        return digest(path, _owner(request), *shaping, body)

    async def send(
        self, request: web.Request, key: bytes, account: Account | None = None
    ) -> web.StreamResponse | None:
        """Send the response again, if there is one and it still holds; note what it was in the account, if any."""
        begun_s = self._parts.clock()
        kept = self._cache.rendering(key, begun_s)
        transport = request.transport
        if (
            kept is None
            or transport is None
            or not request.keep_alive
            or self._parts.last_answers()
            or request.version != HttpVersion11
            or self._parts.residents.stamp(kept.asked) != kept.stamp
        ):
            return None
        headers = request.headers
        wanted = headers.get(STREAM_ENCODING if kept.streamed else "Accept-Encoding", "")
        packed = kept.packed and "zstd" in wanted and accepts_zstd(wanted)
        etag = f'"{kept.etag}-zstd"' if packed else f'"{kept.etag}"'
        request_id = headers.get("x-request-id") or ""
        if not request_id or not is_request_id(request_id):
            request_id = f"req-{self._id_prefix}{next(self._ids):012x}"
        unchanged = matches(headers.get("If-None-Match"), etag)
        if unchanged:
            body, length = b"", ""
        else:
            body = kept.body if packed else self._cache.plain(kept)
            length = f"Content-Length: {len(body)}\r\n"
        ended_s = self._parts.clock()
        took_ms = (ended_s - begun_s) * 1000
        own = (
            f"HTTP/1.1 {'304 Not Modified' if unchanged else '200 OK'}\r\n{length}"
            f"{'Content-Encoding: zstd' + chr(13) + chr(10) if packed and not unchanged else ''}"
            f"ETag: {etag}\r\nAge: {int(begun_s - kept.stored_s)}\r\nx-request-id: {request_id}\r\n"
            f"Server-Timing: cache;desc=hit, total;dur={took_ms:.2f}\r\n"
        )
        transport.write(b"".join((own.encode("ascii"), kept.head, self._date(), body)))
        # However short: who sends requests in a row and reads nothing would have all answers held here.
        await request.writer.drain()
        status = 304 if unchanged else 200
        self._note(kept, status, request_id, len(body), ended_s - begun_s)
        if account is not None:
            account.cache, account.replayed, account.operation = "hit", True, kept.operation
            account.asked, account.model, account.release = kept.asked, kept.model, kept.release
            account.prompt_tokens, account.completion_tokens = kept.prompt_tokens, kept.completion_tokens
        return Sent(status)

    def keep(
        self,
        key: bytes,
        account: Account,
        body: bytes,
        *,
        headers: Mapping[str, str],
        etag: str,
        streamed: bool = False,
    ) -> None:
        """Keep a response's plain body for the next one who asks exactly this."""
        packed = len(body) > COMPRESSED_ABOVE_BYTES
        lines = {
            **headers,
            "Cache-Control": STORED_CONTROL,
            "x-edgeward-cache": "hit",
            "Cache-Status": cache_status("hit"),
            "x-edgeward-node": self._parts.node_id,
            "Server": "edgeward",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._cache.keep_rendering(
            key,
            Rendering(
                route=account.route,
                operation=account.operation,
                asked=account.asked,
                model=account.model,
                release=account.release,
                stamp=account.stamp,
                head=head,
                body=self._cache.pack(body) if packed else body,
                packed=packed,
                plain_bytes=len(body),
                etag=etag,
                streamed=streamed,
                stored_s=self._parts.clock() - account.age_s,
                prompt_tokens=account.prompt_tokens,
                completion_tokens=account.completion_tokens,
            ),
        )

    def _date(self) -> bytes:
        """The Date header and the end of the head; made once a second."""
        now_s = int(time.time())
        if now_s != self._date_s:
            self._date_s = now_s
            self._date_line = f"Date: {formatdate(now_s, usegmt=True)}\r\n\r\n".encode()
        return self._date_line

    def _note(self, kept: Rendering, status: int, request_id: str, body_bytes: int, took_s: float) -> None:
        self._parts.metrics.replayed(
            route=kept.route,
            model=kept.model,
            code=status,
            duration_s=took_s,
            prompt_count=kept.prompt_tokens,
            completion_count=kept.completion_tokens,
        )
        unlogged_count = self._lines.take(time.monotonic())
        if unlogged_count is None:
            return
        log.info(
            "request.answered",
            route=kept.route,
            status=status,
            error="",
            model=kept.model,
            release=kept.release,
            request_id=request_id,
            cache="hit",
            total_ms=round(took_s * 1000, 2),
            prompt_tokens=kept.prompt_tokens,
            completion_tokens=kept.completion_tokens,
            response_bytes=body_bytes,
            unlogged_count=unlogged_count,
        )


def _owner(request: web.Request) -> bytes:
    """Whose answers a request may be given: those of its key as that stands now, however it came in by it."""
    caller = caller_of(request)
    if caller.key is None:
        return request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
    return to_msgpack((caller.key_id, caller.key.models, caller.ticket_model))


def etag_of(body: bytes) -> str:
    """The entity tag of a plain body, without quotes."""
    return hashlib.sha256(body).hexdigest()[:24]


def is_request_id(text: str) -> bool:
    """Whether a client's request id may be taken over: 1 to 128 letters, digits or `._:-`."""
    return 0 < len(text) <= 128 and text.isascii() and text.translate(_ID_PUNCTUATION).isalnum()


_ID_PUNCTUATION = str.maketrans("._:-", "0000")

REPLAYS = web.AppKey("replays", Replays)
