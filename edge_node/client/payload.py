"""Bodies to and from nodes: msgpack out, msgpack or JSON in, zstd both ways and never beyond a limit."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import sys
from array import array
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

import aiohttp
import msgpack
import zstandard

import origin.errors  # noqa: F401  # its error classes must exist before `_classes` looks for them
from edge_node.errors import AnswerInvalidError, OverloadedError, RequestInvalidError
from registry.errors import EdgewardError, InputInvalidError, UnpackLimitError
from registry.wire import convert, to_msgpack

if TYPE_CHECKING:
    from collections.abc import Mapping

MSGPACK_TYPE = "application/msgpack"
JSON_TYPE = "application/json"
FRAMES_TYPE = "application/x-edgeward-frames+msgpack"
SSE_TYPE = "text/event-stream"
STREAM_ENCODING = "x-edgeward-stream-encoding"
"""Asks for a stream in zstd: relays copy Content-Encoding carelessly, so Accept-Encoding alone does not."""
COMPRESSED_ABOVE_BYTES = 1024
WINDOW_LIMIT_BYTES = 8 * 2**20
_PIECE_BYTES = 64 * 1024


class _ByteStream(Protocol):
    """What arrives of a body; satisfied by `aiohttp.StreamReader`."""

    async def readany(self) -> bytes: ...


def encode_body(message: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A request's body and the headers that describe it; compressed when over 1 KB."""
    data = to_msgpack(message)
    headers = {"content-type": MSGPACK_TYPE}
    if len(data) > COMPRESSED_ABOVE_BYTES:
        data = zstandard.compress(data, 3)
        headers["content-encoding"] = "zstd"
    return data, headers


class Inflater:
    """Unpacks a body that arrives in pieces.

    Args:
        encoding: the Content-Encoding: `zstd`, `identity` or nothing.
        limit_bytes: the most that the whole body may unpack to.

    Raises:
        AnswerInvalidError: an encoding that was not asked for.
    """

    def __init__(self, encoding: str, limit_bytes: int) -> None:
        if encoding not in {"", "identity", "zstd"}:
            raise AnswerInvalidError(
                f"the answer has the content encoding {encoding!r}, which was not asked for"
            )
        self._left_bytes = limit_bytes
        self._limit_bytes = limit_bytes
        self._out = bytearray()
        self._writer = None
        if encoding == "zstd":
            decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT_BYTES)
            self._writer = decompressor.stream_writer(
                cast("IO[bytes]", self), write_size=_PIECE_BYTES, closefd=False
            )

    def feed(self, data: bytes) -> bytes:
        """What these bytes unpack to so far.

        Raises:
            AnswerInvalidError: not zstd.
            UnpackLimitError: it unpacks to more than the limit.
        """
        if self._writer is None:
            self.write(data)
        else:
            try:
                self._writer.write(data)
            except zstandard.ZstdError as error:
                raise AnswerInvalidError(f"the answer is not valid zstd: {error}") from error
        unpacked = bytes(self._out)
        self._out.clear()
        return unpacked

    def write(self, data: bytes) -> int:
        """Take unpacked bytes; zstandard calls this with at most 64 KiB, so that a bomb stops early."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise UnpackLimitError(f"the answer unpacks to more than {self._limit_bytes} bytes")
        self._out += data
        return len(data)


async def read_body(stream: _ByteStream, encoding: str, limit_bytes: int) -> bytes:
    """A whole body, unpacked.

    Raises:
        AnswerInvalidError, UnpackLimitError: as `Inflater`.
    """
    inflater = Inflater(encoding, limit_bytes)
    body = bytearray()
    while data := await stream.readany():
        body += inflater.feed(data)
    return bytes(body)


def decode_body(data: bytes, content_type: str) -> Any:
    """Plain dicts, lists and scalars from a JSON or msgpack body.

    Raises:
        AnswerInvalidError: another content type, or not valid.
    """
    try:
        if content_type == MSGPACK_TYPE:
            return msgpack.unpackb(data, strict_map_key=True)  # its limits follow from len(data)
        if content_type == JSON_TYPE:
            return json.loads(data)
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise AnswerInvalidError(f"the answer is not valid {content_type}: {error}") from error
    raise AnswerInvalidError(f"the answer has the content type {content_type!r}, not msgpack or JSON")


def error_in(plain: Any, status: int, headers: Mapping[str, str]) -> EdgewardError | None:
    """The error that an OpenAI error object names; None when `plain` is not one."""
    described = plain.get("error") if isinstance(plain, dict) else None
    if isinstance(described, str):
        described = {"message": described}
    if not isinstance(described, dict):
        return None
    message = str(described.get("message") or f"the node refused with status {status}")
    param = described.get("param")
    retry_after_s = described.get("retry_after_s")
    waits_s = retry_after_s if isinstance(retry_after_s, int | float) else retry_after_in(headers)
    kind = _classes().get(str(described.get("code"))) or _class_of_status(status)
    return kind(message, param=param if isinstance(param, str) else None, retry_after_s=waits_s)


def retry_after_in(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3; dates are ignored)."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if text.replace(".", "", 1).isdecimal() and text.isascii():
            return float(text) * unit_s
    return None


def error_of_status(status: int, headers: Mapping[str, str]) -> EdgewardError:
    """The error for an answer that fails without an error object, such as a proxy's page."""
    return _class_of_status(status)(
        f"the node answered with status {status}", retry_after_s=retry_after_in(headers)
    )


def reason_of(error: Exception) -> str:
    """Why a connection failed, in few words."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it ended before the answer did"
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    return str(error) or type(error).__name__


def vector_of(embedding: Any) -> list[float]:
    """A vector from raw little-endian float32 bytes, their base64, or a list of numbers.

    Raises:
        AnswerInvalidError: anything else.
    """
    if isinstance(embedding, list):
        try:
            return convert(embedding, list[float])
        except InputInvalidError as error:
            raise AnswerInvalidError(f"an embedding in the answer cannot be read: {error.message}") from error
    try:
        raw = base64.b64decode(embedding, validate=True) if isinstance(embedding, str) else bytes(embedding)
        numbers = array("f")
        numbers.frombytes(raw)
    except (binascii.Error, TypeError, ValueError) as error:
        raise AnswerInvalidError(f"an embedding in the answer cannot be read: {error}") from error
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _class_of_status(status: int) -> type[EdgewardError]:
    if status == 429:
        return OverloadedError
    return AnswerInvalidError if status >= 500 or status < 400 else RequestInvalidError


@functools.cache
def _classes() -> dict[str, type[EdgewardError]]:
    """Every error class by its code; subclasses defined later than the first use are not seen."""
    found: dict[str, type[EdgewardError]] = {}
    waiting = EdgewardError.__subclasses__()  # the root's own code says nothing
    while waiting:
        kind = waiting.pop()
        # A subclass that inherits its code must not replace the class that defines it.
        if "code" in vars(kind):
            found[kind.code] = kind
        waiting += kind.__subclasses__()
    return found
