"""Bodies in and out: JSON or msgpack, plain or zstd, both negotiated, and what comes in is bounded.

A request says what it is by Content-Type and Content-Encoding; a response is msgpack when Accept prefers it and
zstd when Accept-Encoding allows it and the body is over 1 KB. gzip is refused with 415 (RFC 9110, 15.5.16).
A JSON body must be declared as such, also because a web page cannot send that type to a node on its reader's
machine without the browser asking the node first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import zstandard
from aiohttp import web

from edge_node.errors import (
    BodyTimeoutError,
    EncodingUnsupportedError,
    PayloadTooLargeError,
    RequestInvalidError,
)
from edge_node.web.parts import PARTS, exchange_of
from registry.errors import InputInvalidError
from registry.wire import from_json, from_msgpack, to_json, to_msgpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_node.web.parts import Limits

T = TypeVar("T")

JSON_TYPE = "application/json"
MSGPACK_TYPE = "application/msgpack"
MSGPACK_TYPES = (MSGPACK_TYPE, "application/x-msgpack", "application/vnd.msgpack")
COMPRESSED_ABOVE_BYTES = 1024
ZSTD_LEVEL = 3
# RFC 9659 bounds the window of zstd as a content coding.
WINDOW_LIMIT_BYTES = 8 * 2**20
_PIECE_BYTES = 256 * 1024
# Reading more than this takes long enough to be felt by the streams on the same loop.
_INLINE_LIMIT_BYTES = 64 * 1024


async def read_message(request: web.Request, kind: type[T]) -> T:
    """The message in a request's body.

    Raises:
        RequestInvalidError: not valid, or not of this type.
        PayloadTooLargeError: over a limit, before or after decompression.
        EncodingUnsupportedError: of another Content-Type or Content-Encoding.
        BodyTimeoutError: it takes too long to arrive.
    """
    parts = request.app[PARTS]
    packed = _is_msgpack(request)
    compressed = _is_zstd(request)
    body = await _read_body(request, parts.limits)
    account = exchange_of(request).account
    account.request_bytes = account.prompt_bytes = len(body)
    if compressed:
        body = await asyncio.to_thread(unpack_zstd, body, parts.limits.unpacked_limit_bytes)
        account.prompt_bytes = len(body)
        parts.metrics.payload_compressed(raw_bytes=len(body), zstd_bytes=account.request_bytes)
    decode = from_msgpack if packed else from_json
    try:
        if len(body) > _INLINE_LIMIT_BYTES:
            return await asyncio.to_thread(decode, body, kind)
        return decode(body, kind)
    except InputInvalidError as error:
        raise RequestInvalidError(error.message, param=error.param) from error


def respond(
    request: web.Request, message: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A message as a response, in the form that the client accepts."""
    packed = prefers_msgpack(request.headers.get("Accept", ""))
    body = to_msgpack(message) if packed else to_json(message)
    response = web.Response(status=status, headers=headers)
    response.headers["Vary"] = "Accept, Accept-Encoding"
    response.content_type = MSGPACK_TYPE if packed else JSON_TYPE
    if len(body) > COMPRESSED_ABOVE_BYTES and accepts_zstd(request.headers.get("Accept-Encoding", "")):
        smaller = zstandard.compress(body, ZSTD_LEVEL)
        request.app[PARTS].metrics.payload_compressed(raw_bytes=len(body), zstd_bytes=len(smaller))
        response.headers["Content-Encoding"] = "zstd"
        body = smaller
    response.body = body
    return response


def unpack_zstd(data: bytes, limit_bytes: int) -> bytes:
    """Decompress, stopping at the limit.

    Raises:
        PayloadTooLargeError: it unpacks to more.
        RequestInvalidError: not zstd, damaged or truncated.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT_BYTES)
    unpacked = bytearray()
    try:
        declared_bytes = zstandard.frame_content_size(data)
        with decompressor.stream_reader(data, read_across_frames=True) as reader:
            while piece := reader.read(_PIECE_BYTES):
                unpacked += piece
                if len(unpacked) > limit_bytes:
                    raise PayloadTooLargeError(f"the body unpacks to more than {limit_bytes} bytes")
    except zstandard.ZstdError as error:
        raise RequestInvalidError(f"the body is not valid zstd: {error}") from error
    # A frame of unknown length that is cut off shows itself in the message, which then ends early too.
    if len(unpacked) < declared_bytes:
        raise RequestInvalidError("the body is not valid zstd: it is truncated")
    return bytes(unpacked)


def accepts_zstd(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding names zstd with a quality over 0; `*` is not taken for it."""
    return _qualities(accept_encoding).get("zstd", 0.0) > 0


def prefers_msgpack(accept: str) -> bool:
    """Whether an Accept names msgpack, and not below JSON."""
    qualities = _qualities(accept)
    msgpack_quality = max(qualities.get(name, 0.0) for name in MSGPACK_TYPES)
    return msgpack_quality > 0 and msgpack_quality >= qualities.get(JSON_TYPE, 0.0)


def names_type(accept: str, media_type: str) -> bool:
    """Whether an Accept names exactly this media type with a quality over 0."""
    return _qualities(accept).get(media_type, 0.0) > 0


def _qualities(header: str) -> dict[str, float]:
    """The quality of each entry of an Accept header (RFC 9110, 12.4.2); a malformed one counts as 0."""
    qualities: dict[str, float] = {}
    for entry in header.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                text = value.strip()
                quality = float(text) if text.isascii() and text.replace(".", "", 1).isdigit() else 0.0
        qualities[name] = quality
    return qualities


def _is_msgpack(request: web.Request) -> bool:
    kind = request.content_type.lower()
    if kind in MSGPACK_TYPES:
        return True
    if kind == JSON_TYPE and (request.charset or "utf-8").lower() in {"utf-8", "utf8", "us-ascii"}:
        return False
    raise EncodingUnsupportedError(
        f"the body must be JSON in UTF-8 or msgpack: say so with Content-Type: {JSON_TYPE} or {MSGPACK_TYPE}",
        param="Content-Type",
    )


def _is_zstd(request: web.Request) -> bool:
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", "zstd"}:
        raise EncodingUnsupportedError(
            "the body's Content-Encoding is not one that this node reads: send zstd or none",
            param="Content-Encoding",
        )
    return encoding == "zstd"


async def _read_body(request: web.Request, limits: Limits) -> bytes:
    limit_bytes = limits.body_limit_bytes
    too_large = PayloadTooLargeError(f"the body is larger than {limit_bytes} bytes")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_wait_s):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError as error:
        raise BodyTimeoutError(f"the body did not arrive within {limits.body_wait_s:g} s") from error
    return bytes(body)
