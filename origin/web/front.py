"""Front: lists and redirects answered on the spot, from the bytes of a connection, and all else handed to aiohttp.

Clients ask for a list, or send a short request to a model, over a kept connection and in one piece. Such a request
needs none of what an HTTP server does for others: it is recognized here (`origin.web.simple_request`), decided and
answered before the event loop turns. Whatever is not exactly that (another URL, a body in
pieces, a header that changes how a message is read, a request that is to be refused) goes to aiohttp with all of its
bytes, and so does everything after it on that connection. So there is one place that understands HTTP.
"""

from __future__ import annotations

import asyncio
import secrets
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import structlog

from origin.api import RouteQuery
from origin.web.answering import ALLOWED_ID
from origin.web.deciding import list_for
from origin.web.prompts import OpenAIRequest, prompt_beginning
from origin.web.sending_on import send_on
from origin.web.simple_request import LIST_PATH, parse
from registry.bodies import JSON_TYPE, MSGPACK_TYPE, decode, encode, form_of, prefers_msgpack
from registry.errors import EdgewardError
from registry.log import LineBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web
    from prometheus_client import Histogram

    from origin.web.context import Context
    from origin.web.simple_request import SimpleRequest
    from registry.bodies import Form

log = structlog.get_logger()

_UNSENT_LIMIT_BYTES = 64 * 1024
_LINES_PER_S = 10
_LISTED, _SENT_ON = 200, 307


class RouteDesk:
    """Answers requests for lists and for redirects; one for all connections of an origin."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # A child is looked up by its labels once, since that takes longer than counting.
        self._durations: dict[str, Histogram] = {}
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
        request = parse(data)
        form = _form(request.headers.get(b"content-type", b"")) if request is not None else None
        if request is None or form is None:
            return None
        try:
            if request.path == LIST_PATH:
                answered = self._list(request, form, remote)
            else:
                answered = self._redirect(request, form, remote)
        except EdgewardError:
            return None  # refused in the one place where errors become answers
        except Exception:  # a defect must not cost a connection: aiohttp's way meets it too, and answers 500
            log.exception("route.broke")
            return None
        if answered is None:
            return None
        head, body, node_id = answered
        response = self._response(request, head, body, remote, begun_s, node_id)
        durations = self._durations.get(request.path)
        if durations is None:
            durations = self._durations[request.path] = self._context.telemetry.requests.labels(
                "POST", request.path, str(_status(request))
            )
        durations.observe(self._context.now_s() - begun_s)
        return response

    def _list(self, request: SimpleRequest, form: Form, remote: str) -> tuple[str, bytes, str] | None:
        """The headers of the answer that are its own, its body, and the node it names first."""
        query = decode(request.body, form, RouteQuery)
        if query.turns:  # whose prompt it is, is in a header that is not read here
            return None
        answer = list_for(
            self._context,
            query,
            session=request.text(b"x-edgeward-session"),
            remote=remote,
            header=request.place,
        )
        accepted = _accepted(request.headers.get(b"accept", b""))
        head = f"Content-Type: {accepted}\r\nCache-Control: no-store\r\n"
        return head, encode(answer, accepted), answer.nodes[0].node_id

    def _redirect(self, request: SimpleRequest, form: Form, remote: str) -> tuple[str, bytes, str]:
        """The same of a redirect."""
        asked = decode(request.body, form, OpenAIRequest)
        text, whole = prompt_beginning(asked, request.path, form)
        body_bytes = len(request.body)
        headers, node_id = send_on(
            self._context,
            asked.model,
            raw_path=request.path,
            session=request.text(b"x-edgeward-session"),
            remote=remote,
            header=request.place,
            body_bytes=body_bytes,
            text=text,
            text_bytes=len(text) if whole else body_bytes,
        )
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return head, b"", node_id

    def _response(
        self,
        request: SimpleRequest,
        head: str,
        body: bytes,
        remote: str,
        begun_s: float,
        node_id: str,
    ) -> bytes:
        self._answers_count += 1
        stated, status = request.text(b"x-request-id"), _status(request)
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
                path=request.path,
                status=status,
                code="",
                duration_ms=round((self._context.now_s() - begun_s) * 1000, 2),
                client=remote,
                unlogged_count=unlogged_count,
            )
        spans = self._context.spans
        if spans is not None:
            spans.answered(
                request.text(b"traceparent"), method="POST", url=request.path, begun_s=begun_s,
                status=status, node_id=node_id, request_id=request_id,
            )  # fmt: skip
        whole = (
            f"HTTP/1.1 {'200 OK' if status == _LISTED else '307 Temporary Redirect'}\r\n{head}"
            f"Content-Length: {len(body)}\r\nDate: {self._date}\r\nServer: edgeward\r\n"
            f"x-request-id: {request_id}\r\n\r\n"
        )
        return whole.encode("ascii") + body


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
        """Answer a simple request; leave the connection to the inner protocol at anything else."""
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


def _status(request: SimpleRequest) -> int:
    return _LISTED if request.path == LIST_PATH else _SENT_ON


# Clients say the same few things over and over, and reading them anew takes as long as all the other headers.
@lru_cache(maxsize=256)
def _form(content_type: bytes) -> Form | None:
    return form_of(content_type.decode("ascii"))


@lru_cache(maxsize=256)
def _accepted(accept: bytes) -> Form:
    return MSGPACK_TYPE if prefers_msgpack(accept.decode("ascii")) else JSON_TYPE
