"""Route desk: lists and redirects decided on the spot, from the bytes of a request, and turned into bytes again.

A list's ticket is signed, and no other step takes as long as a signature. So what arrives at one moment, on however
many connections, is decided one by one, and then signed and answered together before anything else is read.
"""

from __future__ import annotations

import secrets
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from origin.api import RouteAnswer, RouteQuery
from origin.tickets import SIGNED_LIMIT_COUNT
from origin.web.answering import ALLOWED_ID
from origin.web.deciding import Unsigned, list_for, with_tickets
from origin.web.prompts import OpenAIRequest, prompt_beginning
from origin.web.sending_on import send_on
from origin.web.simple_request import LIST_PATH, parse
from registry.bodies import JSON_TYPE, MSGPACK_TYPE, decode, encode, form_of, prefers_msgpack
from registry.errors import EdgewardError
from registry.log import LineBudget

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from prometheus_client import Histogram

    from origin.web.context import Context
    from origin.web.simple_request import SimpleRequest
    from registry.bodies import Form

log = structlog.get_logger()

_LINES_PER_S = 10
_LISTED, _SENT_ON = 200, 307


class Asker(Protocol):
    """Who gets the answer: a connection."""

    def answered(self, response: bytes) -> None:
        """The whole response."""

    def left(self, data: bytes) -> None:
        """There is none: the request's bytes are for aiohttp."""


class _Taken(NamedTuple):
    """A request for a list that is decided, and not signed yet."""

    asker: Asker
    data: bytes
    remote: str
    request: SimpleRequest
    begun_s: float
    unsigned: Unsigned


class RouteDesk:
    """Answers requests for lists and for redirects; one for all connections of an origin.

    Args:
        context: the origin's parts.
        soon: has a call made after all that has arrived by now was read (`loop.call_soon`).
    """

    def __init__(self, context: Context, soon: Callable[[Callable[[], None]], object]) -> None:
        self._context = context
        self._soon = soon
        self._taken: list[_Taken] = []
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

    def take(self, data: bytes, remote: str, asker: Asker) -> bool:
        """Whether these bytes are a whole request that is answered here, before the next ones are read."""
        begun_s = self._context.now_s()
        request = parse(data)
        form = _form(request.headers.get(b"content-type", b"")) if request is not None else None
        if request is None or form is None:
            return False
        try:
            answered = self._decided(request, form, remote, begun_s)
        except EdgewardError:
            return False  # refused in the one place where errors become answers
        except Exception:  # a defect must not cost a connection: aiohttp's way meets it too, and answers 500
            log.exception("route.broke")
            return False
        if isinstance(answered, bytes):
            asker.answered(answered)
        elif answered is not None:
            if not self._taken:
                self._soon(self.finish)
            self._taken.append(_Taken(asker, data, remote, request, begun_s, answered))
        return answered is not None

    def _decided(
        self, request: SimpleRequest, form: Form, remote: str, begun_s: float
    ) -> Unsigned | bytes | None:
        """A list that is to be signed, or a whole redirect; None when the request is for aiohttp."""
        if request.path == LIST_PATH:
            return self._list(request, form, remote)
        head, node_id = self._redirect(request, form, remote)
        return self._response(request, head, b"", remote, begun_s, node_id)

    def finish(self) -> None:
        """Sign and answer what was taken."""
        while self._taken:
            some = self._taken[:SIGNED_LIMIT_COUNT]
            del self._taken[:SIGNED_LIMIT_COUNT]
            try:
                answers = with_tickets(self._context, [it.unsigned for it in some])
                responses = [self._listed(it, answer) for it, answer in zip(some, answers, strict=True)]
            except Exception:  # as above
                log.exception("route.broke")
                for it in some:
                    it.asker.left(it.data)
                continue
            for it, response in zip(some, responses, strict=True):
                it.asker.answered(response)

    def _list(self, request: SimpleRequest, form: Form, remote: str) -> Unsigned | None:
        query = decode(request.body, form, RouteQuery)
        if query.turns:  # whose prompt it is, is in a header that is not read here
            return None
        return list_for(
            self._context,
            query,
            session=request.text(b"x-edgeward-session"),
            remote=remote,
            header=request.place,
        )

    def _listed(self, taken: _Taken, answer: RouteAnswer) -> bytes:
        """The response with a list."""
        request = taken.request
        accepted = _accepted(request.headers.get(b"accept", b""))
        head = f"Content-Type: {accepted}\r\nCache-Control: no-store\r\n"
        body, node_id = encode(answer, accepted), answer.nodes[0].node_id
        return self._response(request, head, body, taken.remote, taken.begun_s, node_id)

    def _redirect(self, request: SimpleRequest, form: Form, remote: str) -> tuple[str, str]:
        """The headers of the answer that are its own, and the node that it leads to."""
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
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items()), node_id

    def _response(
        self,
        request: SimpleRequest,
        head: str,
        body: bytes,
        remote: str,
        begun_s: float,
        node_id: str,
    ) -> bytes:
        """The whole response, counted and told."""
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
        durations = self._durations.get(request.path)
        if durations is None:
            durations = self._durations[request.path] = self._context.telemetry.requests.labels(
                "POST", request.path, str(status)
            )
        durations.observe(self._context.now_s() - begun_s)
        whole = (
            f"HTTP/1.1 {'200 OK' if status == _LISTED else '307 Temporary Redirect'}\r\n{head}"
            f"Content-Length: {len(body)}\r\nDate: {self._date}\r\nServer: edgeward\r\n"
            f"x-request-id: {request_id}\r\n\r\n"
        )
        return whole.encode("ascii") + body


def _status(request: SimpleRequest) -> int:
    return _LISTED if request.path == LIST_PATH else _SENT_ON


# Clients say the same few things over and over, and reading them anew takes as long as all the other headers.
@lru_cache(maxsize=256)
def _form(content_type: bytes) -> Form | None:
    return form_of(content_type.decode("ascii"))


@lru_cache(maxsize=256)
def _accepted(accept: bytes) -> Form:
    return MSGPACK_TYPE if prefers_msgpack(accept.decode("ascii")) else JSON_TYPE
