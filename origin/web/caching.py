"""HTTP conditions and ranges on bytes that never change (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from origin.errors import RangeUnsatisfiableError

if TYPE_CHECKING:
    from aiohttp import web

IMMUTABLE = "public, max-age=31536000, immutable, no-transform"

_ONE_RANGE = re.compile(r"(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")


def none_match(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match, where there is one, asks for the body; the weak comparison of RFC 9110 13.1.2."""
    stated = request.headers.get("If-None-Match")
    if stated is None:
        return True
    tags = {tag.strip().removeprefix("W/") for tag in stated.split(",")}
    return not tags & {etag, "*"}


def wanted_range(request: web.Request, etag: str, length_bytes: int) -> tuple[int, int] | None:
    """The offset and length asked for; None means all of it.

    Several ranges in one request get the whole, as RFC 9110 14.2 allows, and so does a range under an If-Range
    that names other bytes.

    Raises:
        RangeUnsatisfiableError: a range that is none, or that begins past the end.
    """
    unit, equals, ranges = request.headers.get("Range", "").partition("=")
    if not equals or unit.strip().lower() != "bytes" or "," in ranges:
        return None
    if request.headers.get("If-Range", etag) != etag:
        return None
    match = _ONE_RANGE.fullmatch(ranges.strip())
    first, last = (match["first"], match["last"]) if match else ("", "")
    if first:
        begin, end = int(first), min(int(last), length_bytes - 1) if last else length_bytes - 1
        sound = begin < length_bytes and (not last or begin <= int(last))
    else:
        begin, end = max(0, length_bytes - int(last or 0)), length_bytes - 1
        sound = bool(last) and int(last) > 0
    if not sound or length_bytes == 0:
        raise RangeUnsatisfiableError(
            f"the range {ranges[:60]!r} does not lie in the {length_bytes} bytes of this object",
            param="Range",
        )
    return begin, end - begin + 1
