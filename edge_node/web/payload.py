"""Bodies in and out of a node: JSON or msgpack, plain or zstd, both negotiated, and what comes in is bounded.

A request says what it is by Content-Type and Content-Encoding; a response is msgpack when Accept prefers it and
zstd when Accept-Encoding allows it and the body is over 1 KB. gzip is refused with 415 (RFC 9110, 15.5.16).
A JSON body must be declared as such, also because a web page cannot send that type to a node on its reader's
machine without the browser asking the node first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from edge_node.cache.terms import matches
from edge_node.errors import RequestInvalidError
from edge_node.web.parts import PARTS, exchange_of
from edge_node.web.replay import REPLAYS, etag_of
from registry.arriving import decode_aside, read_bounded, unpack_aside
from registry.bodies import (
    COMPRESSED_ABOVE_BYTES,
    JSON_TYPE,
    MSGPACK_TYPE,
    Refusals,
    accepts_zstd,
    coding_of,
    compress,
    encode,
    form_of,
    prefers_msgpack,
)
from registry.errors import BodyUnsupportedError, InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.bodies import Coding, Form

T = TypeVar("T")

_OWN_HEADERS = frozenset({"ETag", "Server-Timing"})
_REFUSALS = Refusals("the body", invalid=RequestInvalidError)


async def read_message(request: web.Request, kind: type[T]) -> T:
    """The message in a request's body.

    Raises:
        RequestInvalidError: not valid, or not of this type.
        BodyTooLargeError: over a limit, before or after decompression.
        BodyUnsupportedError: of another Content-Type or Content-Encoding.
        BodyTimeoutError: it takes too long to arrive.
    """
    form = _form(request)
    body = await read_plain_body(request)
    try:
        return await decode_aside(body, form, kind)
    except InputInvalidError as error:
        raise RequestInvalidError(error.message, param=error.param) from error


async def read_plain_body(request: web.Request) -> bytes:
    """A request's body, unpacked; raises as `read_message` does."""
    parts = request.app[PARTS]
    limits, coding = parts.limits, _coding(request)
    body = await read_body(request)
    account = exchange_of(request).account
    account.request_bytes = account.prompt_bytes = len(body)
    if coding == "zstd":
        body = await unpack_aside(body, limits.unpacked_limit_bytes, _REFUSALS)
        account.prompt_bytes = len(body)
        parts.metrics.payload_compressed(raw_bytes=len(body), zstd_bytes=account.request_bytes)
    return body


async def read_body(request: web.Request) -> bytes:
    """A request's body as it travels; read once.

    Raises:
        BodyTooLargeError: over the limit.
        BodyTimeoutError: it takes too long to arrive.
    """
    exchange = exchange_of(request)
    if exchange.body is None:
        limits = request.app[PARTS].limits
        exchange.body = await read_bounded(
            request.content, request.content_length, limits.body_limit_bytes, limits.body_wait_s, _REFUSALS
        )
    return exchange.body


def arrived_body(request: web.Request, limit_bytes: int) -> bytes | None:
    """A request's body if all of it came with its head; None when it must be waited for, or is too large."""
    content, declared_bytes = request.content, request.content_length
    if declared_bytes is None or declared_bytes > limit_bytes or not content.is_eof():
        return None
    if content.exception() is not None:
        return None
    return content.read_nowait()


def respond(
    request: web.Request, message: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A message as a response, in the form that the client accepts."""
    form: Form = MSGPACK_TYPE if prefers_msgpack(request.headers.get("Accept", "")) else JSON_TYPE
    body = encode(message, form)
    response = web.Response(status=status, headers=headers)
    response.headers["Vary"] = "Accept, Accept-Encoding"
    response.content_type = form
    etag = _validator(request, response, body) if status == 200 else ""
    if etag and matches(request.headers.get("If-None-Match"), etag):
        response.set_status(304)
        return response
    if len(body) > COMPRESSED_ABOVE_BYTES and accepts_zstd(request.headers.get("Accept-Encoding", "")):
        smaller = compress(body)
        request.app[PARTS].metrics.payload_compressed(raw_bytes=len(body), zstd_bytes=len(smaller))
        response.headers["Content-Encoding"] = "zstd"
        body = smaller
    response.body = body
    return response


def _validator(request: web.Request, response: web.Response, body: bytes) -> str:
    """Give an answer that would come out the same again its entity tag, and keep it if it is asked for again."""
    exchange = exchange_of(request)
    account = exchange.account
    if account.cache in {None, "bypass"}:
        return ""
    etag = etag_of(body)
    packed = len(body) > COMPRESSED_ABOVE_BYTES and accepts_zstd(request.headers.get("Accept-Encoding", ""))
    # A client says this name again, so it tells which of the two codings its copy has.
    response.headers["ETag"] = tag = f'"{etag}-zstd"' if packed else f'"{etag}"'
    if exchange.body_key is not None and account.cache != "miss" and account.stamp:
        headers = {name: value for name, value in response.headers.items() if name not in _OWN_HEADERS}
        request.app[REPLAYS].keep(exchange.body_key, account, body, headers=headers, etag=etag)
    return tag


def _form(request: web.Request) -> Form:
    form = form_of(request.headers.get("Content-Type", ""))
    if form is None:
        raise BodyUnsupportedError(
            f"the body must be JSON in UTF-8 or msgpack: say so with Content-Type: {JSON_TYPE} or {MSGPACK_TYPE}",
            param="Content-Type",
        )
    return form


def _coding(request: web.Request) -> Coding:
    coding = coding_of(request.headers.get("Content-Encoding", ""))
    if coding is None:
        raise BodyUnsupportedError(
            "the body's Content-Encoding is not one that this node reads: send zstd or none",
            param="Content-Encoding",
        )
    return coding
