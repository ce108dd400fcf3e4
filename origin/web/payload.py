"""Bodies in and out of the origin: JSON or msgpack, plain or zstd, never larger than allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from origin.errors import OriginBodyTooLargeError, OriginBodyUnsupportedError
from registry.arriving import decode_aside, read_bounded, unpack_aside
from registry.bodies import JSON_TYPE, MSGPACK_TYPE, Refusals, coding_of, encode, form_of, prefers_msgpack

if TYPE_CHECKING:
    from registry.bodies import Form

T = TypeVar("T")

BODY_WAIT_S = 60.0
_REFUSALS = Refusals("the body", too_large=OriginBodyTooLargeError)


async def read_message(
    request: web.Request, kind: type[T], limit_bytes: int, *, wait_s: float = BODY_WAIT_S
) -> tuple[T, int]:
    """A request's body as a message, and the length of the body once decompressed.

    Raises:
        OriginBodyTooLargeError: longer than the limit, before or after decompression.
        OriginBodyUnsupportedError: neither JSON nor msgpack, or a Content-Encoding other than zstd.
        BodyTimeoutError: it takes too long to arrive.
        InputInvalidError: not what `kind` says.
    """
    stated = request.headers.get("Content-Type", "")
    form = form_of(stated)
    if form is None:
        raise OriginBodyUnsupportedError(
            f"a body of Content-Type {stated[:60]!r} is not read here: send {JSON_TYPE} in UTF-8 or {MSGPACK_TYPE}"
        )
    encoding = request.headers.get("Content-Encoding", "")
    coding = coding_of(encoding)
    if coding is None:
        raise OriginBodyUnsupportedError(
            f"a body with Content-Encoding {encoding[:40]!r} is not read here: send it plain or in zstd"
        )
    body = await read_bounded(request.content, request.content_length, limit_bytes, wait_s, _REFUSALS)
    if coding == "zstd":
        body = await unpack_aside(body, limit_bytes, _REFUSALS)
    return await decode_aside(body, form, kind), len(body)


def reply(request: web.Request, message: Any) -> web.Response:
    """A message in the form that the client accepts."""
    form: Form = MSGPACK_TYPE if prefers_msgpack(request.headers.get("Accept", "")) else JSON_TYPE
    return web.Response(body=encode(message, form), content_type=form)
