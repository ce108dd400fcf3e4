"""Bodies in and out, in every form, and what they are refused for."""

from __future__ import annotations

import asyncio
import io
import json

import msgpack
import pytest
import zstandard

from edge_node.server import Limits

ASK = {"model": "chat", "messages": [{"role": "user", "content": "Grüße " * 300}], "temperature": 0.5}
CHAT = "/v1/chat/completions"
ENCODERS = {
    "application/json": lambda plain: json.dumps(plain).encode(),
    "application/msgpack": msgpack.packb,
}


def unpacked(response_headers, body):
    if response_headers.get("Content-Encoding") == "zstd":
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    decode = msgpack.unpackb if response_headers["Content-Type"] == "application/msgpack" else json.loads
    return decode(body)


@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("packed", [False, True])
async def test_every_form_means_the_same(front, kind, packed, accept):
    body = ENCODERS[kind](ASK)
    headers = {"Content-Type": kind, "Accept": accept, "Accept-Encoding": "identity"}
    if packed:
        body, headers["Content-Encoding"] = zstandard.compress(body), "zstd"
    response = await front.client.post(CHAT, data=body, headers=headers)
    assert response.status == 200
    assert response.headers["Content-Type"].partition(";")[0] == accept
    answer = unpacked(response.headers, await response.read())
    assert answer["choices"][0]["message"]["content"] == "Hello ✓"
    [command] = front.residents.chat.commands
    assert command.messages[0].content == ASK["messages"][0]["content"]
    assert command.sampling.temperature == 0.5
    assert ('edge_payload_bytes_total{stage="zstd"}' in front.metrics.page().decode()) is packed


@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
async def test_a_large_answer_is_packed_for_who_takes_zstd(front, accept):
    ask = {"model": "team/embed", "input": ["text"] * 200}
    packed = await front.client.post(
        "/v1/embeddings", json=ask, headers={"Accept": accept, "Accept-Encoding": "gzip, zstd"}
    )
    plain = await front.client.post(
        "/v1/embeddings", json=ask, headers={"Accept": accept, "Accept-Encoding": "gzip, zstd;q=0"}
    )
    assert packed.headers["Content-Encoding"] == "zstd"
    assert "Content-Encoding" not in plain.headers
    small, large = await packed.read(), await plain.read()
    assert len(small) < len(large) / 5
    assert unpacked(packed.headers, small) == unpacked(plain.headers, large)
    assert packed.headers["Vary"] == "Accept, Accept-Encoding"


async def test_a_small_answer_is_not_packed(front):
    response = await front.client.get("/healthz", headers={"Accept-Encoding": "zstd"})
    assert "Content-Encoding" not in response.headers


async def test_vectors_travel_as_bytes_in_msgpack(front):
    ask = {"model": "team/embed", "input": "ab", "encoding_format": "base64"}
    response = await front.client.post("/v1/embeddings", json=ask, headers={"Accept": "application/msgpack"})
    [item] = msgpack.unpackb(await response.read())["data"]
    assert isinstance(item["embedding"], bytes)
    assert len(item["embedding"]) == 12


async def test_a_wrong_number_of_dimensions_is_refused(front):
    for dimensions, status in ((3, 200), (2, 400)):
        ask = {"model": "team/embed", "input": "ab", "dimensions": dimensions}
        response = await front.client.post("/v1/embeddings", json=ask)
        assert response.status == status
    assert (await response.json())["error"]["param"] == "dimensions"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "request.invalid"),
        (b"{", {}, 400, "request.invalid"),
        (b'{"model": "\xff"}', {}, 400, "request.invalid"),
        (b"[" * 100_000, {}, 400, "request.invalid"),
        (b"[1]", {}, 400, "request.invalid"),
        (b'{"model": "chat", "messages": [{"role": "user", "content": "\\ud800"}]}', {}, 400, "request.invalid"),
        (b"\xc1", {"Content-Type": "application/msgpack"}, 400, "request.invalid"),
        (b"\x91" * 5000, {"Content-Type": "application/msgpack"}, 400, "request.invalid"),
        (b"\xdf\xff\xff\xff\xff", {"Content-Type": "application/msgpack"}, 400, "request.invalid"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "request.unsupported_encoding"),
        (b"{}", {"Content-Type": "application/json; charset=utf-16"}, 415, "request.unsupported_encoding"),
        (b"{}", {"Content-Type": ""}, 415, "request.unsupported_encoding"),
        (b"{}", {"Content-Encoding": "gzip"}, 415, "request.unsupported_encoding"),
        (b"not zstd", {"Content-Encoding": "zstd"}, 400, "request.invalid"),
        (zstandard.compress(b"{}" * 99)[:-3], {"Content-Encoding": "zstd"}, 400, "request.invalid"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(b"{}" * 99)[:-1],
         {"Content-Encoding": "zstd"}, 400, "request.invalid"),
        (zstandard.compress(bytes(64 * 2**20)), {"Content-Encoding": "zstd"}, 413, "request.too_large"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 * 2**20)),
         {"Content-Encoding": "zstd"}, 413, "request.too_large"),
        (io.BytesIO(bytes(9 * 2**20)), {}, 413, "request.too_large"),
    ],
    ids=range(19),
)  # fmt: skip
async def test_a_bad_body_gets_a_clear_error(front, body, headers, status, code):
    response = await front.client.post(
        CHAT, data=body, headers={"Content-Type": "application/json", **headers}
    )
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (status, code)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert front.residents.chat.commands == []


async def test_a_body_of_unknown_length_is_bounded_too(make_front):
    front = await make_front(limits=Limits(body_limit_bytes=1000))

    async def pieces():
        for _ in range(30):
            yield b" " * 100

    response = await front.client.post(CHAT, data=pieces(), headers={"Content-Type": "application/json"})
    assert response.status == 413


async def test_a_large_body_is_read(front):
    ask = {**ASK, "messages": [{"role": "user", "content": "x" * 200_000}]}
    response = await front.client.post(CHAT, json=ask)
    assert response.status == 200


async def test_a_body_that_does_not_come_is_given_up(make_front):
    front = await make_front(limits=Limits(body_wait_s=0.01))
    reader, writer = await asyncio.open_connection(front.client.host, front.client.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 50\r\n\r\n{"
    )
    assert b"408" in await reader.readline()
    writer.close()
    await writer.wait_closed()
