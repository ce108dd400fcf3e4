"""Bodies in and out of a node: JSON or msgpack, plain or zstd, both negotiated, and what comes in is bounded.

A request says what it is by Content-Type and Content-Encoding; a response is msgpack when Accept prefers it and
zstd when Accept-Encoding allows it and the body is over 1 KB. gzip is refused with 415 (RFC 9110, 15.5.16).
A JSON body must be declared as such, also because a web page cannot send that type to a node on its reader's
machine without the browser asking the node first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from edge_node.errors import RequestInvalidError
from edge_node.web.parts import PARTS, exchange_of
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
    body = await read_body(request)
    try:
        return await decode_aside(body, form, kind)
    except InputInvalidError as error:
        raise RequestInvalidError(error.message, param=error.param) from error


async def read_body(request: web.Request) -> bytes:
    """A request's body, unpacked; raises as `read_message` does."""
    parts = request.app[PARTS]
    limits, coding = parts.limits, _coding(request)
    body = await read_bounded(
        request.content, request.content_length, limits.body_limit_bytes, limits.body_wait_s, _REFUSALS
    )
    account = exchange_of(request).account
    account.request_bytes = account.prompt_bytes = len(body)
    if coding == "zstd":
        body = await unpack_aside(body, limits.unpacked_limit_bytes, _REFUSALS)
        account.prompt_bytes = len(body)
        parts.metrics.payload_compressed(raw_bytes=len(body), zstd_bytes=account.request_bytes)
    return body


def respond(
    request: web.Request, message: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A message as a response, in the form that the client accepts."""
    form: Form = MSGPACK_TYPE if prefers_msgpack(request.headers.get("Accept", "")) else JSON_TYPE
    body = encode(message, form)
    response = web.Response(status=status, headers=headers)
    response.headers["Vary"] = "Accept, Accept-Encoding"
    response.content_type = form
    if len(body) > COMPRESSED_ABOVE_BYTES and accepts_zstd(request.headers.get("Accept-Encoding", "")):
        smaller = compress(body)
        request.app[PARTS].metrics.payload_compressed(raw_bytes=len(body), zstd_bytes=len(smaller))
        response.headers["Content-Encoding"] = "zstd"
        body = smaller
    response.body = body
    return response


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
