"""What the front takes for a simple request is one for aiohttp too, and means the same to it."""

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from origin.web.simple_request import LIST_PATH, SENT_ON_PATHS, parse

BODY = b'{"model": "chat"}'
LINE = b"POST /v1/route HTTP/1.1"
PLAIN = (b"Host: x", b"Content-Type: application/json", b"Content-Length: %d" % len(BODY))
HEADERS = (
    *PLAIN, b"host: y", b"Host:", b"Host : x", b" Host: x", b"Content-Length:%d" % len(BODY),
    b"Content-Length: \t%d " % len(BODY), b"Content-Length: %d\t" % len(BODY), b"Content-Length: +%d" % len(BODY),
    b"Content-Length: 0x11", b"Content-Length: 0%d" % len(BODY), b"Content-Length: 17, 17", b"Content-Length: 5",
    b"Content-Length: 99", b"Content-Length:", b"Content-Length : 17", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding:\tidentity", b"Connection: close", b"Connection: keep-alive",
    b"Upgrade: h2c", b"Expect: 100-continue", b"TE: trailers", b"Sec-WebSocket-Key1: 1", b"User-Agent: a",
    b"User-Agent: b", b"Server: s", b"ETag: e", b"Max-Forwards: 1", b"Accept: */*", b"Accept: application/msgpack",
    b"X-Edgeward-Session: \t a b\t ", b"X-Edgeward-Place: 1,2", b"X-Request-Id: r", b"Cookie: a=b", b"X-A:", b"X-A: ",
    b"X-A: a\tb", b"X-A: a\0b", b"X-A: a\x0bb", b"X-A: a\x7fb", b"X-A: a\rb", b"X-A: a\nb", b"X-A: a\r\n b",
    b"X-A: caf\xe9", b"X-\xe9: a", b"X A: a", b"X-A", b": a", b"", b"(a): b", b"a" * 5000 + b": b",
    b"X-A: " + b"a" * 5000,
)  # fmt: skip
LINES = (
    LINE, *(f"POST {path} HTTP/1.1".encode() for path in SENT_ON_PATHS), b"POST /v1/route HTTP/1.0",
    b"POST /v1/route HTTP/2.0", b"post /v1/route HTTP/1.1", b"POST /v1/route  HTTP/1.1", b"POST\t/v1/route HTTP/1.1",
    b"POST /v1/route HTTP/1.1 ", b"POST http://x/v1/route HTTP/1.1", b"POST * HTTP/1.1", b"\r\n" + LINE,
    b"PRI * HTTP/2.0", b"POST /v1/" + b"a" * 100_000 + b" HTTP/1.1", b"POST /v1/rout%65 HTTP/1.1",
)  # fmt: skip


def request(*headers, line=LINE, body=BODY):
    return b"\r\n".join([line, *headers, b"", body])


def many(count):
    return tuple(b"A%d: b" % number for number in range(count))


@pytest.fixture(scope="module")
def read():
    """What aiohttp makes of the bytes of a connection."""
    loop = asyncio.new_event_loop()

    def read(raw):
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
        messages, upgraded, tail = parser.feed_data(raw)
        assert not upgraded
        assert tail == b""
        [(message, payload)] = messages
        assert payload.is_eof()
        return message, payload.read_nowait()

    yield read
    loop.close()


def means_the_same(read, raw):
    """Whether the front answers it; then aiohttp must read the very same."""
    parsed = parse(raw)
    if parsed is None:
        return False
    try:
        message, body = read(raw)
    except HttpProcessingError as error:
        pytest.fail(f"aiohttp refuses what the front answers ({error.message}): {raw[:300]!r}")
    assert (message.method, message.path, message.version) == ("POST", parsed.path, (1, 1))
    assert body == parsed.body
    assert not any((message.should_close, message.chunked, message.upgrade, message.compression))
    for name in parsed.headers:
        assert message.headers.getall(name.decode()) == [parsed.text(name)]
    return True


@pytest.mark.parametrize("path", [LIST_PATH, *SENT_ON_PATHS])
def test_a_plain_request_is_simple(read, path):
    assert means_the_same(read, request(*PLAIN, *many(20), line=f"POST {path} HTTP/1.1".encode()))


@pytest.mark.parametrize(
    "headers",
    [
        PLAIN[1:],  # no Host
        (*PLAIN, b"Host: x"),
        (*PLAIN, b"HOST: y"),
        (*PLAIN, b"User-Agent: a", b"User-Agent: b"),
        (*PLAIN, *many(126)),
        (*PLAIN, b"Sec-WebSocket-Key1: 1"),
    ],
)
def test_what_aiohttp_refuses_is_not_simple(read, headers):
    raw = request(*headers)
    with pytest.raises(HttpProcessingError):
        read(raw)
    assert parse(raw) is None


@given(
    st.sampled_from(LINES) | st.just(LINE),
    st.lists(st.sampled_from(HEADERS), max_size=4),
    st.sampled_from([0, 61, 62, 125, 126, 500]) | st.just(0),
    st.sampled_from([BODY, BODY[:5], b"", BODY + b"x", BODY + request(*PLAIN)]) | st.just(BODY),
    st.lists(st.sampled_from(PLAIN), unique=True, min_size=2),
)
@example(LINE, [], 0, BODY, PLAIN[1:])
def test_what_the_front_answers_means_the_same_to_aiohttp(read, line, more, filler_count, body, plain):
    means_the_same(read, request(*plain, *more, *many(filler_count), line=line, body=body))


@given(
    st.sets(st.sampled_from(HEADERS), max_size=6),
    st.integers(0, 200),
    st.binary(max_size=3),
    st.integers(0, 3),
)
def test_bytes_changed_anywhere_mean_the_same_to_aiohttp_or_nothing_to_the_front(
    read, headers, at, noise, cut_bytes
):
    raw = request(*PLAIN[:1], *sorted(headers), *PLAIN[2:])
    means_the_same(read, raw[:at] + noise + raw[at + cut_bytes :])
