"""Bodies to and from nodes: msgpack out, msgpack or JSON in, zstd both ways and never beyond a limit."""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
from array import array
from typing import TYPE_CHECKING, Any

import aiohttp
import msgpack
from msgspec import Struct

import origin.errors  # noqa: F401  # `kind_of_code` finds only classes that are imported
from edge_node.errors import AnswerInvalidError, ModelNotReadyError, OverloadedError, RequestInvalidError
from registry.bodies import (
    COMPRESSED_ABOVE_BYTES,
    JSON_TYPE,
    MSGPACK_TYPE,
    Inflater,
    Refusals,
    check_values,
    coding_of,
    compress,
)
from registry.errors import EdgewardError, InputInvalidError, UnpackLimitError
from registry.refusals import kind_of_code, retry_after_in
from registry.wire import convert, to_msgpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.arriving import ByteStream

# An answer of 4,096 tokens, each with 20 log probabilities, has about a million.
_VALUES_LIMIT_COUNT = 1 << 21
_REFUSALS = Refusals("the answer", invalid=AnswerInvalidError, too_large=UnpackLimitError)


class _Loading(Struct, frozen=True):
    state: str
    eta_s: float | None = None
    done_bytes: int = 0
    total_bytes: int = 0


def encode_body(message: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A request's body and the headers that describe it; compressed when over 1 KB."""
    data = to_msgpack(message)
    headers: dict[str, str] = {"content-type": MSGPACK_TYPE}
    if len(data) > COMPRESSED_ABOVE_BYTES:
        data = compress(data)
        headers["content-encoding"] = "zstd"
    return data, headers


def inflater_for(encoding: str, limit_bytes: int) -> Inflater:
    """What unpacks an answer with this Content-Encoding.

    Raises:
        AnswerInvalidError: an encoding that was not asked for.
    """
    coding = coding_of(encoding)
    if coding is None:
        raise AnswerInvalidError(f"the answer has the content encoding {encoding!r}, which was not asked for")
    return Inflater(coding, limit_bytes, _REFUSALS)


async def read_body(stream: ByteStream, encoding: str, limit_bytes: int) -> bytes:
    """A whole body, unpacked.

    Raises:
        AnswerInvalidError: not whole, not valid, or in an encoding that was not asked for.
        UnpackLimitError: it unpacks to more than the limit.
    """
    inflater = inflater_for(encoding, limit_bytes)
    body = bytearray()
    while data := await stream.readany():
        body += inflater.feed(data)
    inflater.finish()
    return bytes(body)


def decode_body(data: bytes, content_type: str) -> Any:
    """Plain dicts, lists and scalars from a JSON or msgpack body.

    Raises:
        AnswerInvalidError: another content type, not valid, or of more than two million values.
    """
    try:
        if content_type == MSGPACK_TYPE:
            check_values(data, MSGPACK_TYPE, _VALUES_LIMIT_COUNT)
            return msgpack.unpackb(data, strict_map_key=True)  # its limits follow from len(data)
        if content_type == JSON_TYPE:
            check_values(data, JSON_TYPE, _VALUES_LIMIT_COUNT)
            return json.loads(data)
    except InputInvalidError as error:
        raise AnswerInvalidError(f"the answer cannot be read: {error.message}") from error
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise AnswerInvalidError(f"the answer is not valid {content_type}: {error}") from error
    raise AnswerInvalidError(f"the answer has the content type {content_type!r}, not msgpack or JSON")


def error_in(plain: Any, status: int, headers: Mapping[str, str]) -> EdgewardError | None:
    """The error that an OpenAI error object names; None when `plain` is not one."""
    described = plain.get("error") if isinstance(plain, dict) else None
    if isinstance(described, str):  # the form of the Open Inference Protocol, with our extensions
        described = {"message": described, "code": plain.get("code"), "param": plain.get("param")}
    if not isinstance(described, dict):
        return None
    message = str(described.get("message") or f"the node refused with status {status}")
    param = described.get("param")
    retry_after_s = described.get("retry_after_s")
    waits_s = retry_after_s if isinstance(retry_after_s, int | float) else retry_after_in(headers)
    kind = kind_of_code(str(described.get("code"))) or _class_of_status(status)
    if kind is ModelNotReadyError:
        return _not_ready(message, plain.get("loading"), waits_s)
    return kind(message, param=param if isinstance(param, str) else None, retry_after_s=waits_s)


def error_of_status(status: int, headers: Mapping[str, str]) -> EdgewardError:
    """The error for an answer that fails without an error object, such as a proxy's page."""
    return _class_of_status(status)(
        f"the node answered with status {status}", retry_after_s=retry_after_in(headers)
    )


def reason_of(error: Exception) -> str:
    """Why a connection failed, in few words."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number) if number else error.os_error.strerror or str(error.os_error)
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


def _not_ready(message: str, loading: Any, waits_s: float | None) -> ModelNotReadyError:
    try:
        found = convert(loading, _Loading)
    except InputInvalidError:
        return ModelNotReadyError(message, param="model", retry_after_s=waits_s)
    parts = [found.state]
    if found.total_bytes > 0:
        parts.append(f"{100 * found.done_bytes // found.total_bytes} % of {found.total_bytes} bytes")
    if found.eta_s is not None:
        parts.append(f"about {found.eta_s:.0f} s left")
    return ModelNotReadyError(
        f"{message} ({', '.join(parts)})",
        param="model",
        retry_after_s=waits_s,
        state=found.state,
        done_bytes=found.done_bytes,
        total_bytes=found.total_bytes,
    )


def _class_of_status(status: int) -> type[EdgewardError]:
    if status == 429:
        return OverloadedError
    return AnswerInvalidError if status >= 500 or status < 400 else RequestInvalidError
