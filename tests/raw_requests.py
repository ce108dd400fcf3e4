"""Requests as bytes, right and wrong ones, with the statuses that a server of ours answers them with (RFC 9112).

What is ambiguous is refused, and never read in one way here and in another by a proxy before us.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

FRAMED = (b"Host: x", b"Content-Type: application/json")


def raw_request(
    path: str, body: bytes, *more: bytes, line: bytes | None = None, length: bool = True
) -> bytes:
    """One request; `more` are its other header lines."""
    first = line if line is not None else b"POST %s HTTP/1.1" % path.encode()
    lengths = (b"Content-Length: %d" % len(body),) if length else ()
    return b"\r\n".join([first, *FRAMED, *lengths, *more, b"", body])


def raw_requests(path: str, body: bytes) -> dict[str, tuple[bytes, list[int]]]:
    """By name: the bytes that are sent, and the statuses of all that comes back; `path` answers 200 to `body`."""
    plain = raw_request(path, body)
    size = len(body)
    chunked = raw_request(path, b"", b"Transfer-Encoding: chunked", length=False)
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)

    def headed(*more: bytes) -> bytes:
        return raw_request(path, body, *more)

    def sized(value: bytes, name: bytes = b"Content-Length") -> bytes:
        return raw_request(path, body, b"%s: %s" % (name, value), length=False)

    def begun(line: bytes) -> bytes:
        return raw_request(path, body, line=line)

    return {
        "plain": (plain, [200]),
        "two in one piece": (plain + plain, [200, 200]),
        "another and garbage": (plain + b"garbage\r\n\r\n", [400]),
        "a body longer than it says": (sized(b"%d" % (size - 1)), [400]),
        "an empty line before it": (b"\r\n" + plain, [200]),
        # The request line.
        "HTTP/1.0": (begun(b"POST %s HTTP/1.0" % path.encode()), [200]),
        "HTTP/0.9": (b"GET /\r\n\r\n", [404]),
        "HTTP/2.0": (begun(b"POST %s HTTP/2.0" % path.encode()), [200]),
        "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
        "HTTP/1.2": (begun(b"POST %s HTTP/1.2" % path.encode()), [400]),
        "a method in lower case": (begun(b"post %s HTTP/1.1" % path.encode()), [400]),
        "a tab in the request line": (begun(b"POST\t%s HTTP/1.1" % path.encode()), [400]),
        "a space after the request line": (begun(b"POST %s HTTP/1.1 " % path.encode()), [400]),
        "the absolute form": (begun(b"POST http://y%s HTTP/1.1" % path.encode()), [200]),
        "an absolute form of nothing": (begun(b"POST http:// HTTP/1.1"), [400]),
        "a path that is too long": (begun(b"POST /%s HTTP/1.1" % (b"a" * 100_000)), [400]),
        "a path with NUL": (begun(b"POST /v1/\0 HTTP/1.1"), [400]),
        "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), [400]),
        # Headers.
        "no Host": (plain.replace(b"Host: x\r\n", b""), [400]),
        "two Hosts": (headed(b"Host: y"), [400]),
        "a folded line": (headed(b"X-A: a\r\n b"), [400]),
        "a bare LF": (headed(b"X-A: a\nX-B: b"), [400]),
        "a bare CR": (headed(b"X-A: a\rX-B: b"), [400]),
        "LF throughout": (plain.replace(b"\r\n", b"\n"), [400]),
        "a space before the colon": (headed(b"X-A : a"), [400]),
        "a space before the name": (plain.replace(b"Host", b" Host"), [400]),
        "no name": (headed(b": a"), [400]),
        "no colon": (headed(b"X-A"), [400]),
        "NUL in a value": (headed(b"X-A: a\0b"), [400]),
        "NUL in a name": (headed(b"X-\0: a"), [400]),
        "not ASCII in a value": (headed(b"X-A: \xff\xfe"), [200]),
        "not ASCII in a name": (headed(b"X-\xe9: a"), [400]),
        "a value that is too long": (headed(b"X-A: " + b"a" * 100_000), [400]),
        "too many headers": (headed(*(b"X-%d: a" % number for number in range(126))), [400]),
        "an expectation that nobody meets": (headed(b"Expect: a miracle"), [417]),
        "to be continued": (headed(b"Expect: 100-continue"), [100, 200]),
        "another protocol": (headed(b"Upgrade: h2c", b"Connection: upgrade"), [200]),
        # How long the body is.
        "two lengths": (headed(b"Content-Length: %d" % size), [400]),
        "a length with +": (sized(b"+%d" % size), [400]),
        "a length below nothing": (sized(b"-1"), [400]),
        "a list of lengths": (sized(b"%d,%d" % (size, size)), [400]),
        "a length in hex": (sized(b"0x%x" % size), [400]),
        "a length of many digits": (sized(b"9" * 40), [400]),
        "no digits": (sized(b""), [400]),
        "a length and chunks": (chunked.replace(b"Host", b"Content-Length: 3\r\nHost") + whole, [400]),
        "chunks and a length": (chunked.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n") + whole, [400]),
        # Chunks.
        "chunks": (chunked + whole, [200]),
        "chunks with an extension": (chunked + whole.replace(b"\r\n", b';a="b"\r\n', 1), [200]),
        "chunks with a trailer": (chunked + whole[:-2] + b"X-A: a\r\n\r\n", [200]),
        "chunks and another request": (chunked + whole + plain, [200, 200]),
        "no such coding": (sized(b"xchunked", b"Transfer-Encoding") , [400]),
        "chunked before the last coding": (sized(b"chunked, identity", b"Transfer-Encoding"), [400]),
        "chunked twice": (sized(b"chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding"), [400]),
    }  # fmt: skip


async def statuses_of(reader: asyncio.StreamReader, count: int) -> list[int]:
    """The statuses of the next responses, whose bodies are passed over; fewer where the connection ends."""
    found: list[int] = []
    while len(found) < count:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        status, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        found.append(int(status.split()[1]))
        await reader.readexactly(int(headers.get("content-length", 0)))
    return found


async def most_unread_bytes(server: web.Server, address: tuple[str, int], raw: bytes) -> int:
    """What a server holds for a client that sends all these requests and reads no answer."""
    with socket.socket() as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or the system would hold some MiB
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(end, address)
        sending = asyncio.create_task(loop.sock_sendall(end, raw))
        most_bytes, before_count, still_count = 0, -1, 0
        while still_count < 25 and most_bytes < 8 * 2**20:
            await asyncio.sleep(0.02)
            still_count = still_count + 1 if server.requests_count == before_count else 0
            before_count = server.requests_count
            transports = [connection.transport for connection in server.connections]
            sizes_bytes = [each.get_write_buffer_size() for each in transports if each is not None]
            most_bytes = max(most_bytes, *sizes_bytes, 0)
        sending.cancel()
        await asyncio.wait({sending})
    return most_bytes
