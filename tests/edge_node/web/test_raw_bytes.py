"""Bytes that are HTTP, nearly HTTP or nothing of the kind, to a real server of the node's front."""

import asyncio

import pytest

from tests.raw_requests import most_unread_bytes, raw_request, raw_requests, statuses_of

JSON = {"Content-Type": "application/json"}
RAW = raw_requests("/v1/embeddings", b'{"model": "team/embed", "input": "text"}')


@pytest.mark.parametrize("name", RAW)
async def test_a_node_answers_or_refuses_and_goes_on(front, name):
    raw, expected = RAW[name]
    server = front.client.server
    for sent, statuses in ((raw, expected), (RAW["plain"][0], [200])):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(sent)
        async with asyncio.timeout(60):
            assert await statuses_of(reader, len(statuses)) == statuses
        writer.close()


@pytest.mark.parametrize("path", ["/openapi.json", "/metrics"])
async def test_who_asks_and_asks_and_never_reads_costs_a_bounded_buffer(front, path):
    server = front.client.server
    raw = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() * 20_000
    unread_bytes = await most_unread_bytes(server.handler, (server.host, server.port), raw)
    assert 0 < unread_bytes < 2**20


async def test_so_does_who_asks_for_a_kept_answer(make_front):
    front = await make_front(cache_bytes=2**20)
    body = b'{"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}'
    for _ in range(3):
        async with front.client.post("/v1/chat/completions", data=body, headers=JSON) as answer:
            assert answer.status == 200
    server = front.client.server
    raw = raw_request("/v1/chat/completions", body) * 40_000
    assert 0 < await most_unread_bytes(server.handler, (server.host, server.port), raw) < 2**20
    assert len(front.residents.chat.commands) == 1
