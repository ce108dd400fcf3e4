"""Bodies in and out: JSON or msgpack, plain or zstd, never larger than allowed."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any, TypeVar

import zstandard
from aiohttp import web

from origin.errors import BodyTooLargeError, BodyUnsupportedError
from registry.errors import InputInvalidError
from registry.wire import from_json, from_msgpack, to_json, to_msgpack

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

JSON = "application/json"
MSGPACK = "application/msgpack"
_MSGPACK_NAMES = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})
_WINDOW_LIMIT_BYTES = 8 * 2**20  # what RFC 8878 section 3.1.1.1.2 asks every decoder to support
_QUICK_BYTES = 256 * 1024  # a larger body is decoded in a thread, so that others do not wait for it


async def read_message(request: web.Request, kind: type[T], limit_bytes: int) -> tuple[T, int]:
    """A request's body as a message, and the length of the body once decompressed.

    Raises:
        BodyTooLargeError: longer than the limit, before or after decompression.
        BodyUnsupportedError: neither JSON nor msgpack, or a Content-Encoding other than zstd.
        InputInvalidError: not what `kind` says.
    """
    decode = _decoder(request)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "zstd"}:
        raise BodyUnsupportedError(
            f"a body with Content-Encoding {encoding[:40]!r} is not read here: send it plain or in zstd"
        )
    body = await _read_bounded(request, limit_bytes)
    if not body:
        raise InputInvalidError("the body is empty: send a JSON object")

    def work() -> tuple[T, int]:
        plain = _unpacked(body, limit_bytes) if encoding == "zstd" else body
        return decode(plain, kind), len(plain)

    if encoding == "identity" and len(body) <= _QUICK_BYTES:
        return work()
    return await asyncio.to_thread(work)


def reply(request: web.Request, message: Any) -> web.Response:
    """A message as msgpack where the client accepts it by name, else as JSON."""
    if accepts_msgpack(request):
        return web.Response(body=to_msgpack(message), content_type=MSGPACK)
    return web.Response(body=to_json(message), content_type=JSON)


def accepts_msgpack(request: web.Request) -> bool:
    """Whether the client named msgpack in Accept."""
    accepted = request.headers.get("Accept", "").lower().split(",")
    return any(part.split(";")[0].strip() in _MSGPACK_NAMES for part in accepted)


def _decoder(request: web.Request) -> Callable[[bytes, type[T]], T]:
    stated = request.headers.get("Content-Type", JSON).split(";")[0].strip().lower()
    if stated in _MSGPACK_NAMES:
        return from_msgpack
    if stated == JSON or stated.endswith("+json"):
        return from_json
    raise BodyUnsupportedError(
        f"a body of Content-Type {stated[:60]!r} is not read here: send {JSON} or {MSGPACK}"
    )


async def _read_bounded(request: web.Request, limit_bytes: int) -> bytes:
    if request.content_length is not None and request.content_length > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
    return bytes(body)


def _unpacked(body: bytes, limit_bytes: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT_BYTES)
    try:
        with decompressor.stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
            # One byte more than allowed is all that is ever unpacked.
            plain = reader.read(limit_bytes + 1)
    except zstandard.ZstdError as error:
        raise InputInvalidError(f"the body is not valid zstd: {error}") from error
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    return plain


def _too_large(limit_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than the {limit_bytes} bytes that are read here")
