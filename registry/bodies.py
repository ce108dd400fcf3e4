"""Bodies of requests and answers: their two forms, what Accept headers ask for, and zstd within limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import zstandard

from registry.errors import BodyTooLargeError, EdgewardError, InputInvalidError
from registry.value_count import VALUES_LIMIT_COUNT, check_json, check_msgpack
from registry.wire import from_json, from_msgpack, to_json, to_msgpack

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

Form = Literal["application/json", "application/msgpack"]
Coding = Literal["identity", "zstd"]

JSON_TYPE: Form = "application/json"
MSGPACK_TYPE: Form = "application/msgpack"
COMPRESSED_ABOVE_BYTES = 1024
ZSTD_LEVEL = 3

_MSGPACK_NAMES = (MSGPACK_TYPE, "application/x-msgpack", "application/vnd.msgpack")
_JSON_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")

_WINDOW_LIMIT_BYTES = 8 * 2**20  # RFC 9659 bounds the window of zstd as a content coding
_BLOCK_BYTES = 128 * 1024  # no block unpacks to more (RFC 8878, 3.1.1.2.4)
_SMALLEST_BLOCK_BYTES = 4  # a header and one byte that is repeated
_FRAMES_LIMIT_COUNT = 1000


@dataclass(frozen=True, slots=True)
class Refusals:
    """How one side speaks of a body, and the errors that it raises for one."""

    what: str
    invalid: type[EdgewardError] = InputInvalidError
    too_large: type[EdgewardError] = BodyTooLargeError


def form_of(content_type: str) -> Form | None:
    """The form that a Content-Type declares; None for every other, and for JSON that is not UTF-8."""
    name, parameters = _entry(content_type)
    if name in _MSGPACK_NAMES:
        return MSGPACK_TYPE
    readable = parameters.get("charset", "utf-8").strip('"') in _JSON_CHARSETS
    return JSON_TYPE if name == JSON_TYPE and readable else None


def coding_of(content_encoding: str) -> Coding | None:
    """The coding that a Content-Encoding names; None for every other."""
    name = content_encoding.strip().lower()
    if name == "zstd":
        return "zstd"
    return "identity" if name in {"", "identity"} else None


def prefers_msgpack(accept: str) -> bool:
    """Whether an Accept names msgpack, and not below JSON."""
    qualities = _qualities(accept)
    msgpack_quality = max(qualities.get(name, 0.0) for name in _MSGPACK_NAMES)
    return msgpack_quality > 0 and msgpack_quality >= qualities.get(JSON_TYPE, 0.0)


def accepts_zstd(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding names zstd with a quality over 0; `*` is not taken for it."""
    return _qualities(accept_encoding).get("zstd", 0.0) > 0


def names_type(accept: str, media_type: str) -> bool:
    """Whether an Accept names exactly this media type with a quality over 0."""
    return _qualities(accept).get(media_type, 0.0) > 0


def encode(message: Any, form: Form) -> bytes:
    """A message in this form."""
    return to_msgpack(message) if form == MSGPACK_TYPE else to_json(message)


def decode(body: bytes, form: Form, kind: type[T]) -> T:
    """The message that a body in this form holds, made in at most about four times its bytes and 36 MiB.

    Raises:
        InputInvalidError: empty, of too many values, not of this form, or not of this type; `param` is the path of the
            bad field.
    """
    if not body:
        raise InputInvalidError("the body is empty: send an object")
    check_values(body, form, VALUES_LIMIT_COUNT)
    return from_msgpack(body, kind) if form == MSGPACK_TYPE else from_json(body, kind)


def check_values(body: bytes, form: Form, limit_count: int) -> None:
    """Refuse a body of too many values before any is made.

    Raises:
        InputInvalidError: there are more than `limit_count`, keys included.
    """
    if form == MSGPACK_TYPE:
        check_msgpack(body, limit_count)
    else:
        check_json(body, limit_count)


def compress(body: bytes) -> bytes:
    """The body in zstd."""
    return zstandard.compress(body, ZSTD_LEVEL)


def unpack(body: bytes, limit_bytes: int, refusals: Refusals) -> bytes:
    """A whole body out of zstd.

    Raises:
        refusals.invalid: not zstd, damaged, truncated, or of a window over 8 MiB.
        refusals.too_large: it unpacks to more than the limit.
    """
    inflater = Inflater("zstd", limit_bytes, refusals)
    plain = inflater.feed(body)
    inflater.finish()
    return plain


class Inflater:
    """Unpacks a body that arrives in pieces, never holding more than the limit and one block.

    Args:
        coding: how it travels.
        limit_bytes: the most that the whole body may unpack to.
        refusals: what to raise.
    """

    def __init__(self, coding: Coding, limit_bytes: int, refusals: Refusals) -> None:
        self._packed = coding == "zstd"
        self._limit_bytes = self._left_bytes = limit_bytes
        self._refusals = refusals
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT_BYTES)
        self._frame = self._decompressor.decompressobj()
        self._frames_count = 0
        self._in_frame = False

    def feed(self, data: bytes) -> bytes:
        """What these bytes unpack to.

        Raises:
            refusals.invalid: not zstd, or of a window over 8 MiB.
            refusals.too_large: the body unpacks to more than the limit.
        """
        if not self._packed:
            self._count(len(data))
            return data
        try:
            return b"".join(self._unpacked(data))
        except zstandard.ZstdError as error:
            raise self._invalid(str(error)) from error

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            refusals.invalid: in the middle of a frame, or before the first.
        """
        if self._packed and (self._in_frame or not self._frames_count):
            raise self._invalid("it is truncated")

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        start = 0
        while start < len(data):
            # A step ends at most one block more than its smallest blocks could fill the room that is left.
            step_bytes = max(1, self._left_bytes // _BLOCK_BYTES) * _SMALLEST_BLOCK_BYTES
            piece = data[start : start + step_bytes]
            start += len(piece)
            plain = self._frame.decompress(piece)
            self._in_frame = not self._frame.eof
            if self._frame.eof:
                start -= len(self._frame.unused_data)
                self._next_frame()
            self._count(len(plain))
            yield plain

    def _next_frame(self) -> None:
        self._frames_count += 1
        # Empty frames cost a reader far more than their sender.
        if self._frames_count > _FRAMES_LIMIT_COUNT:
            raise self._invalid(f"it has more than {_FRAMES_LIMIT_COUNT} frames")
        self._frame = self._decompressor.decompressobj()

    def _count(self, plain_bytes: int) -> None:
        self._left_bytes -= plain_bytes
        if self._left_bytes < 0:
            raise self._refusals.too_large(
                f"{self._refusals.what} {'unpacks to' if self._packed else 'has'} more than "
                f"{self._limit_bytes} bytes, which is the limit"
            )

    def _invalid(self, why: str) -> EdgewardError:
        return self._refusals.invalid(f"{self._refusals.what} is not valid zstd: {why}")


def _qualities(header: str) -> dict[str, float]:
    """The quality of each entry of an Accept header (RFC 9110, 12.4.2); a malformed one counts as 0."""
    qualities: dict[str, float] = {}
    for text in header.split(","):
        name, parameters = _entry(text)
        quality = parameters.get("q", "1")
        qualities[name] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return qualities


def _entry(text: str) -> tuple[str, dict[str, str]]:
    """A name and its parameters, in lower case (RFC 9110, 5.6.6)."""
    name, *parameters = text.lower().split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.strip(), {key.strip(): value.strip() for key, _, value in pairs}
