"""Simple requests: a small part of HTTP, understood fully (RFC 9112).

A request line with one of a few URLs and no query, header lines in printable ASCII, Content-Length, and nothing after
the body. Everything else is somebody else's to read.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

LIST_PATH: Final = "/v1/route"
SENT_ON_PATHS: Final = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/rerank", "/v1/classify",
)  # fmt: skip

_LINES: Final = {f"POST {path} HTTP/1.1".encode(): path for path in (LIST_PATH, *SENT_ON_PATHS)}
_HEADERS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)*")
_READ: Final = frozenset(
    {
        b"content-type",
        b"content-length",
        b"accept",
        b"x-edgeward-place",
        b"x-edgeward-session",
        b"x-request-id",
        b"traceparent",
    }
)
_FOR_OTHERS: Final = frozenset(
    {b"transfer-encoding", b"content-encoding", b"connection", b"expect", b"upgrade", b"te", b"trailer", b"forwarded",
     b"x-forwarded-for", b"sec-websocket-key1"}
)  # fmt: skip
"""Headers that change how a request is read, or who sent it, or that aiohttp refuses."""
_LIMIT_BYTES = 8 * 1024
_HEADERS_LIMIT_COUNT = 64  # aiohttp refuses more than 128


class SimpleRequest(NamedTuple):
    """A whole request.

    Attributes:
        headers: those that matter, by names in lower case.
    """

    path: str
    headers: dict[bytes, bytes]
    body: bytes

    def text(self, name: bytes) -> str:
        """A header's value; empty without it."""
        return self.headers.get(name, b"").decode("ascii")

    @property
    def place(self) -> str | None:
        """What the client says of where it is."""
        return self.text(b"x-edgeward-place") if b"x-edgeward-place" in self.headers else None


def parse(data: bytes) -> SimpleRequest | None:
    """The request that these bytes are, and nothing else.

    None for anything else, be it malformed or only not simple enough.
    """
    if len(data) > _LIMIT_BYTES:
        return None
    first = data.find(b"\r\n")
    path = _LINES.get(data[:first])
    end = data.find(b"\r\n\r\n", first)
    if path is None or first < 0 or end < 0 or _HEADERS.fullmatch(data, first + 2, end + 2) is None:
        return None
    lines = data[first + 2 : end].split(b"\r\n")
    if len(lines) > _HEADERS_LIMIT_COUNT:
        return None
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value
    twice = len(fields) < len(lines)
    if twice or b"host" not in fields or not _FOR_OTHERS.isdisjoint(fields):  # no Host: RFC 9112, 3.2
        return None
    found = {name: fields[name].strip(b" \t") for name in _READ & fields.keys()}
    body = data[end + 4 :]
    return SimpleRequest(path, found, body) if found.get(b"content-length") == b"%d" % len(body) else None
