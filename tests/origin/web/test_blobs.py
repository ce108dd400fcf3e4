"""Packs over a real socket: ranges, conditions, tricks, and a store that goes away."""

import asyncio
import hashlib
import random

import aiohttp
import pytest

from origin.errors import OriginRefusedError, OriginUnreachableError, RangeUnsatisfiableError
from registry.errors import ObjectMissingError, StoreUnavailableError
from registry.layout import pack_key

DATA = random.Random(7).randbytes(10_000)
KEY = pack_key(hashlib.sha256(DATA).hexdigest())
ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'
URL = f"/v1/blobs/{KEY}"


@pytest.fixture(autouse=True)
def stored(store):
    store.put_if_absent(KEY, DATA)


async def test_the_whole_pack_in_pieces_of_bounded_size(origin, store):
    async with origin.session.get(URL) as reply:
        assert await reply.read() == DATA
        assert reply.status == 200
        assert reply.headers["ETag"] == ETAG
        assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable, no-transform"
        assert reply.headers["Accept-Ranges"] == "bytes"
        assert reply.headers["Content-Length"] == "10000"
    assert store.reads == [(0, 4096), (4096, 4096), (8192, 1808)]


@pytest.mark.parametrize(
    ("stated", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-4999", 100, 5000),
        ("bytes=9990-", 9990, 10_000),
        ("bytes=9990-99999", 9990, 10_000),
        ("bytes=-10", 9990, 10_000),
        ("bytes=-99999", 0, 10_000),
        ("Bytes=5-6", 5, 7),
    ],
)
async def test_one_range(origin, stated, begin, end):
    async with origin.session.get(URL, headers={"Range": stated}) as reply:
        assert reply.status == 206
        assert await reply.read() == DATA[begin:end]
        assert reply.headers["Content-Range"] == f"bytes {begin}-{end - 1}/10000"


@pytest.mark.parametrize(
    "stated", ["bytes=10000-", "bytes=5-4", "bytes=-0", "bytes=x-y", "bytes=", "bytes=-", "bytes=1"]
)
async def test_a_range_outside_or_malformed_is_416(origin, stated):
    async with origin.session.get(URL, headers={"Range": stated}) as reply:
        assert reply.status == 416
        assert reply.headers["Content-Range"] == "bytes */10000"
        assert (await reply.json())["error"]["code"] == "origin.range_unsatisfiable"


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1,5-6"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-1", "If-Range": '"other"'},
        {"If-None-Match": '"other"'},
    ],
)
async def test_what_gets_the_whole(origin, headers):
    async with origin.session.get(URL, headers=headers) as reply:
        assert (reply.status, await reply.read()) == (200, DATA)


async def test_if_range_with_these_bytes_gets_the_range(origin):
    async with origin.session.get(URL, headers={"Range": "bytes=0-1", "If-Range": ETAG}) as reply:
        assert (reply.status, await reply.read()) == (206, DATA[:2])


@pytest.mark.parametrize("stated", [ETAG, f"W/{ETAG}", f'"x", {ETAG}', "*"])
async def test_if_none_match_is_304_without_a_read(origin, store, stated):
    async with origin.session.get(URL, headers={"If-None-Match": stated}) as reply:
        assert (reply.status, await reply.read()) == (304, b"")
        assert reply.headers["ETag"] == ETAG
    assert store.reads == []


async def test_head_says_all_but_the_bytes(origin, store):
    async with origin.session.head(URL, headers={"Range": "bytes=0-1"}) as reply:
        assert (reply.status, reply.headers["Content-Length"]) == (200, "10000")
        assert await reply.read() == b""
    assert store.reads == []


@pytest.mark.parametrize(
    "key",
    [
        "packs/ab/" + "ab" * 32,
        "packs/../manifests/chat/1.0.eaf",
        "packs/%2e%2e/manifests/chat/1.0.eaf",
        "manifests/chat/1.0.eaf",
        "channels/chat.msgpack",
        KEY.upper(),
        KEY + "/",
        KEY + "%00",
        KEY + "%0a",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "packs/ff" + KEY[8:],
    ],
)
async def test_nothing_but_packs_can_be_read(origin, store, publish, key):
    publish(store, "chat", "1.0")
    answer = await origin.raw(
        f"GET /v1/blobs/{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert store.reads == []


async def test_a_store_that_is_away_is_503(origin, store):
    store.away = True
    with pytest.raises(StoreUnavailableError) as caught:
        await origin.client.read_range(KEY, 0, 10)
    assert caught.value.retry_after_s == 2.0


async def test_a_store_that_goes_away_after_the_length_was_known_is_503(origin, store):
    await origin.client.read_range(KEY, 0, 10)
    store.away = True
    async with origin.session.get(URL) as reply:
        assert reply.status == 503


async def test_a_store_that_goes_away_in_the_middle_cuts_the_answer_off(origin, store):
    whole = store.get_range

    def once(key, offset_bytes, length_bytes):
        store.away = offset_bytes > 0
        return whole(key, offset_bytes, length_bytes)

    store.get_range = once
    async with origin.session.get(URL) as reply:
        assert reply.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()
    with pytest.raises(OriginUnreachableError):
        await origin.client.read_range(KEY, 0, 10_000)


async def test_a_client_that_leaves_does_no_harm(origin, store):
    store.put_if_absent(pack_key("00" * 32), bytes(2**24))
    reader, writer = await asyncio.open_connection("127.0.0.1", origin.runner.addresses[0][1])
    writer.write(f"GET /v1/blobs/{pack_key('00' * 32)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readexactly(1000)
    writer.transport.abort()
    assert await origin.client.read_range(KEY, 3, 4) == DATA[3:7]
    assert len(store.reads) < 2**24 / 4096


class TestReadRange:
    async def test_exactly_that_range(self, origin):
        assert await origin.client.read_range(KEY, 9_000, 1_000) == DATA[9_000:]
        assert await origin.client.read_range(KEY, 5, 0) == b""
        assert origin.client.name == "origin"

    async def test_no_such_pack(self, origin):
        with pytest.raises(ObjectMissingError):
            await origin.client.read_range(pack_key("11" * 32), 0, 1)

    async def test_past_the_end(self, origin):
        with pytest.raises(RangeUnsatisfiableError):
            await origin.client.read_range(KEY, 10_000, 1)
        with pytest.raises(OriginRefusedError, match="sent 1 bytes"):
            await origin.client.read_range(KEY, 9_999, 2)


async def test_bytes_sent_are_counted(origin):
    await origin.client.read_range(KEY, 0, 5_000)
    async with origin.session.get("/metrics") as reply:
        assert "origin_blob_bytes_total 5000.0" in await reply.text()
