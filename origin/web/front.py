"""Front: `POST /v1/route` answered on the spot, from the bytes of a connection, and all else handed to aiohttp.

Clients ask for a list over a kept connection, in one small request that arrives in one piece. Such a request needs none
of what an HTTP server does for others: it is recognized here, decided and answered before the event loop turns, in a
third of the time. Whatever is not exactly that (another URL, a body in pieces, a header that changes how a message is
read, a request that is to be refused) goes to aiohttp with all of its bytes, and so does everything after it on that
connection. So there is one place that understands HTTP, and this one understands a small part of it fully (RFC 9112):
a request line as below, header lines in printable ASCII, Content-Length, and nothing after the body.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

import structlog

from origin.api import RouteQuery
from origin.web.answering import ALLOWED_ID
from origin.web.deciding import list_for
from registry.bodies import JSON_TYPE, MSGPACK_TYPE, decode, encode, form_of, prefers_msgpack
from registry.errors import EdgewardError
from registry.log import LineBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from origin.web.context import Context
    from registry.bodies import Form

log = structlog.get_logger()

_REQUEST_LINE: Final = b"POST /v1/route HTTP/1.1\r\n"
_HEADERS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)*")
_READ: Final = frozenset(
    {
        b"content-type",
        b"content-length",
        b"accept",
        b"x-edgeward-place",
        b"x-edgeward-session",
        b"x-request-id",
        b"traceparent",
    }
)
_FOR_OTHERS: Final = frozenset(
    {b"transfer-encoding", b"content-encoding", b"connection", b"expect", b"upgrade", b"te", b"trailer", b"forwarded",
     b"x-forwarded-for"}
)  # fmt: skip
"""Headers that change how a request is read, or who sent it: aiohttp's business."""
_REQUEST_LIMIT_BYTES = 8 * 1024
_UNSENT_LIMIT_BYTES = 64 * 1024
_LINES_PER_S = 10
_URL = "/v1/route"


class RouteDesk:
    """Answers requests for lists; one for all connections of an origin."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._durations = context.telemetry.requests.labels("POST", _URL, "200")
        self._lines = LineBudget(_LINES_PER_S)
        self._id_prefix = secrets.token_hex(6)
        self._answers_count = 0
        self._date = ""
        self._date_s = 0

    def leaves(self, transport: asyncio.BaseTransport) -> bool:
        """Whether nothing of a connection is answered here: at the door for nodes certificates are looked at first.

        Where client keys are asked for, the one place that looks at them is behind this.
        """
        if self._context.gate is not None:
            return True
        enrolment = self._context.enrolment
        return enrolment is not None and enrolment.door.is_here(transport)

    def answer(self, data: bytes, remote: str) -> bytes | None:
        """The whole response to a whole request; None when the request is for aiohttp."""
        begun_s = self._context.now_s()
        parsed = parse(data)
        if parsed is None:
            return None
        headers, body = parsed
        form = _form(headers.get(b"content-type", b""))
        if form is None:
            return None
        try:
            query = decode(body, form, RouteQuery)
            if query.turns:  # whose prompt it is, is in a header that is not read here
                return None
            answer = list_for(
                self._context,
                query,
                session=headers.get(b"x-edgeward-session", b"").decode("ascii"),
                remote=remote,
                header=headers[b"x-edgeward-place"].decode("ascii")
                if b"x-edgeward-place" in headers
                else None,
            )
        except EdgewardError:
            return None  # refused in the one place where errors become answers
        except Exception:  # a defect must not cost a connection: aiohttp's way meets it too, and answers 500
            log.exception("route.broke")
            return None
        accepted = _accepted(headers.get(b"accept", b""))
        node_id = answer.nodes[0].node_id
        response = self._response(headers, encode(answer, accepted), accepted, remote, begun_s, node_id)
        self._durations.observe(self._context.now_s() - begun_s)
        return response

    def _response(
        self,
        headers: dict[bytes, bytes],
        body: bytes,
        form: str,
        remote: str,
        begun_s: float,
        node_id: str,
    ) -> bytes:
        self._answers_count += 1
        stated = headers.get(b"x-request-id", b"").decode("ascii")
        request_id = stated if ALLOWED_ID.fullmatch(stated) else f"{self._id_prefix}{self._answers_count:08x}"
        now_unix_s = int(self._context.now_unix_s())
        if now_unix_s != self._date_s:
            self._date_s, self._date = now_unix_s, formatdate(now_unix_s, usegmt=True)
        unlogged_count = self._lines.take(begun_s)
        if unlogged_count is not None:
            log.info(
                "request.answered",
                request_id=request_id,
                method="POST",
                path=_URL,
                status=200,
                code="",
                duration_ms=round((self._context.now_s() - begun_s) * 1000, 2),
                client=remote,
                unlogged_count=unlogged_count,
            )
        spans = self._context.spans
        if spans is not None:
            spans.answered(
                headers.get(b"traceparent", b"").decode("ascii"), method="POST", url=_URL, begun_s=begun_s,
                status=200, node_id=node_id, request_id=request_id,
            )  # fmt: skip
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {form}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
            f"Date: {self._date}\r\nServer: edgeward\r\nx-request-id: {request_id}\r\n\r\n"
        )
        return head.encode("ascii") + body


class Front(asyncio.Protocol):
    """One connection, until it asks for anything else than lists.

    Args:
        desk: answers requests for lists.
        inner: makes the protocol that answers all others, and ends connections that ask for nothing.
    """

    def __init__(self, desk: RouteDesk, inner: Callable[[], web.RequestHandler]) -> None:
        self._desk = desk
        self._inner = inner()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._remote = ""
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the inner protocol is told too, since it ends the connections of a server that stops."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._remote = peer[0] if isinstance(peer, tuple) else ""
        self._inner.connection_made(transport)
        if self._desk.leaves(transport):
            self._transport.set_protocol(self._inner)

    def data_received(self, data: bytes) -> None:
        """Answer a request for a list; leave the connection to the inner protocol at anything else."""
        transport = self._transport
        assert transport is not None
        if transport.is_closing():
            return
        # Who does not read what was answered is slowed down by the inner protocol.
        unread = self._paused or transport.get_write_buffer_size() > _UNSENT_LIMIT_BYTES
        response = None if unread else self._desk.answer(data, self._remote)
        if response is not None:
            transport.write(response)
            # aiohttp counts from the last response that it sent itself.
            self._inner._next_keepalive_close_time = self._loop.time() + self._inner.keepalive_timeout  # noqa: SLF001
            return
        transport.set_protocol(self._inner)
        self._inner.data_received(data)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It has room again."""
        self._paused = False
        self._inner.resume_writing()

    def eof_received(self) -> None:
        """The client sends no more."""
        self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._transport = None
        self._inner.connection_lost(exc)


# Clients say the same few things over and over, and reading them anew takes as long as all the other headers.
@lru_cache(maxsize=256)
def _form(content_type: bytes) -> Form | None:
    return form_of(content_type.decode("ascii"))


@lru_cache(maxsize=256)
def _accepted(accept: bytes) -> Form:
    return MSGPACK_TYPE if prefers_msgpack(accept.decode("ascii")) else JSON_TYPE


def parse(data: bytes) -> tuple[dict[bytes, bytes], bytes] | None:
    """The headers that matter, by names in lower case, and the body of a whole request for a list.

    None for anything else, be it malformed or only not simple enough.
    """
    if not data.startswith(_REQUEST_LINE) or len(data) > _REQUEST_LIMIT_BYTES:
        return None
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    found: dict[bytes, bytes] = {}
    if _HEADERS.fullmatch(data, len(_REQUEST_LINE), end + 2) is None:
        return None
    for line in data[len(_REQUEST_LINE) : end].split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _FOR_OTHERS or name in found:
            return None
        if name in _READ:
            found[name] = value.strip(b" \t")
    body = data[end + 4 :]
    return (found, body) if found.get(b"content-length") == b"%d" % len(body) else None
