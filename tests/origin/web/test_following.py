"""What other people's clients do with the origin's 307: body and stream arrive, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
import shutil

import aiohttp
import httpx2
import openai
import pytest
from aiohttp import web

from origin.api import ModelReport, NodeReport

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "ünïcode " * 500}], "stream": True}
PIECES = ["Hel", "lo ", "✓"]
PATH = "/v1/chat/completions"


class Recorder:
    """A server in a node's place that streams `PIECES` and remembers what it was sent."""

    def __init__(self):
        self.requests = []

    async def answer(self, request):
        self.requests.append((request.headers.copy(), await request.json(), request.rel_url))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in PIECES:
            chunk = {
                "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "chat",
                "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}],
            }  # fmt: skip
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def recorder(origin, store, publish):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    recorder = Recorder()
    app = web.Application()
    app.router.add_post(PATH, recorder.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    ready = ModelReport(name="chat", version="1.0", state="ready", slots=2, service_s=0.5)
    await origin.client.report(NodeReport(node_id="n", incarnation=1, url=url, models=(ready,)))
    yield recorder
    await runner.cleanup()


def told(data):
    events = [line[6:] for line in data.decode().splitlines() if line.startswith("data: {")]
    return [json.loads(event)["choices"][0]["delta"]["content"] for event in events]


async def by_openai(url):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="secret") as client:
        stream = await client.chat.completions.create(**CHAT)
        return [chunk.choices[0].delta.content async for chunk in stream]


async def by_openai_in_a_thread(url):
    def ask():
        with openai.OpenAI(base_url=f"{url}/v1", api_key="secret") as client:
            return [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**CHAT)]

    return await asyncio.to_thread(ask)


async def by_httpx(url):
    async with httpx2.AsyncClient(
        follow_redirects=True, headers={"Authorization": "Bearer secret"}
    ) as client:
        return told((await client.post(f"{url}{PATH}", json=CHAT)).content)


async def by_aiohttp(url):
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer secret"}) as session,
        session.post(f"{url}{PATH}", json=CHAT) as reply,
    ):
        return told(await reply.read())


async def by_curl(url):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sSL", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer secret"]
    curl = await asyncio.create_subprocess_exec(
        *command,
        "--data-binary",
        "@-",
        f"{url}{PATH}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await curl.communicate(json.dumps(CHAT).encode())
    return told(out)


@pytest.mark.parametrize("ask", [by_openai, by_openai_in_a_thread, by_httpx, by_aiohttp, by_curl])
async def test_body_and_stream_arrive_and_the_key_stays_behind(origin, recorder, ask):
    assert await ask(origin.url) == PIECES
    [(headers, body, url)] = recorder.requests
    assert {name: body[name] for name in CHAT} == CHAT
    assert len(url.query["edgeward_ticket"]) > 100
    # Another port is another origin (RFC 6454): what a node must know of the key has to be in the ticket.
    assert "Authorization" not in headers
