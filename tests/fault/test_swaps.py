"""One node's front with real engines, under load: releases swapped, engines killed, memory short; nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from deploy.local.samples import chat_model, embedding_model
from edge_node.api.health import NodeStatus
from edge_node.engine_plan import RunnerLimits
from edge_node.engines.process import EngineProcess
from edge_node.model_store import InstalledRelease
from edge_node.runner import Runner
from edge_node.scheduler import Scheduler
from edge_node.server import NodeParts, build_app
from edge_node.supervisor import Clock
from edge_node.telemetry import Metrics

pytestmark = pytest.mark.fault

STREAMS_COUNT = 8
REQUESTS_COUNT = int(os.environ.get("EDGEWARD_SWAP_REQUESTS", "500"))


async def until(true):
    async with asyncio.timeout(120):
        while not true():  # noqa: ASYNC110  # what is waited for happens in processes
            await asyncio.sleep(0.02)


@pytest.fixture
def release(tmp_path):
    """Releases that lie where the sample models do; the version is only a word."""

    def release(name, version="1"):
        chat = name.startswith("chat")
        files = tmp_path / name / version / "files"
        files.parent.mkdir(parents=True, exist_ok=True)
        files.symlink_to(chat_model().parent if chat else embedding_model())
        names = tuple(sorted(path.name for path in files.iterdir()))
        return InstalledRelease(
            name=name, version=version, directory=files.parent, kind="gguf" if chat else "onnx", files=names,
            total_bytes=sum((files / file).stat().st_size for file in names), created_unix_s=1_700_000_000,
            manifest_sha256="0" * 64, content_sha256="0" * 64,
        )  # fmt: skip

    return release


@asynccontextmanager
async def serving(engines=None, **limits):
    """A front with a runner behind it, and the base URL."""

    def build(spec):
        engine = EngineProcess(spec)
        if engines is not None:
            engines.append(engine)
        return engine

    runner = Runner(
        build=build,
        clock=Clock(now_s=time.monotonic, sleep=asyncio.sleep),
        channel="stable",
        limits=RunnerLimits(context_tokens=1024, **limits),
    )
    parts = NodeParts(
        node_id="node-a", residents=runner, scheduler=Scheduler(queue_limit_count=1000),
        metrics=Metrics(node_id="node-a", software="0"),
        status=lambda: NodeStatus(
            draining=False, models=runner.model_reports(), origin_up=False, origin_age_s=None
        ),
    )  # fmt: skip
    server = TestServer(build_app(parts))
    await server.start_server()
    try:
        yield runner, str(server.make_url("/v1"))
    finally:
        await runner.close(0)
        await server.close()


async def stream(session, url, model, number):
    """One streamed chat; returns the release that answered, and why the stream ended."""
    body = {
        "model": model, "stream": True, "max_tokens": 8, "temperature": 0,
        "messages": [{"role": "user", "content": f"Say {number}."}],
    }  # fmt: skip
    async with session.post(f"{url}/chat/completions", json=body) as response:
        if response.status != 200:
            return "", f"status {response.status}: {(await response.text())[:200]}"
        end = "silence"
        async for line in response.content:
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    end = f"error {chunk['error']['code']}"
                elif chunk["choices"] and chunk["choices"][0]["finish_reason"]:
                    end = chunk["choices"][0]["finish_reason"]
            elif line.startswith(b"data: [DONE]") and end in {"stop", "length"}:
                end = "done"
        return response.headers["x-edgeward-release"], end


async def load(url, model_of, requests_count, ended):
    """So many requests on eight streams at a time; `ended` gets a pair for each."""
    numbers = iter(range(requests_count))
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def client():
            for number in numbers:
                ended.append(await stream(session, url, model_of(number), number))

        await asyncio.gather(*(client() for _ in range(STREAMS_COUNT)))


@pytest.mark.parametrize("beside", [True, False], ids=["room_for_both", "room_for_one"])
async def test_a_swap_under_load_drops_no_request(release, beside):
    limit_bytes = 0 if beside else 600 << 20
    async with serving(memory_limit_bytes=limit_bytes, load_wait_s=60.0) as (runner, url):
        assert await runner.activate(release("chat", "1"))
        ended = []
        loading = asyncio.create_task(load(url, lambda _: "chat", REQUESTS_COUNT, ended))
        for version, share in (("2", 0.25), ("3", 0.6)):
            await until(lambda share=share: len(ended) >= REQUESTS_COUNT * share)
            assert await runner.activate(release("chat", version))
        await loading
    assert [pair for pair in ended if pair[1] != "done"] == []
    assert len(ended) == REQUESTS_COUNT
    assert {release for release, _ in ended} == {"chat@1", "chat@2", "chat@3"}


async def test_models_that_do_not_fit_together_take_turns_and_lose_nothing(release):
    async with serving(memory_limit_bytes=600 << 20, load_wait_s=120.0) as (runner, url):
        for name in ("chat-a", "chat-b"):
            await runner.activate(release(name))
        assert sorted(state for state in runner.resident().values()) == ["asleep", "ready"]
        ended = []
        await load(url, lambda number: f"chat-{'ab'[number // 10 % 2]}", 60, ended)
    assert [pair for pair in ended if pair[1] != "done"] == []
    assert {release for release, _ in ended} == {"chat-a@1", "chat-b@1"}


async def test_an_engine_killed_under_load_is_back_by_itself_and_its_streams_say_so(release):
    engines = []
    async with serving(engines, load_wait_s=60.0) as (runner, url):
        assert await runner.activate(release("chat"))
        ended = []
        loading = asyncio.create_task(load(url, lambda _: "chat", 120, ended))
        for share in (0.2, 0.5):
            await until(
                lambda share=share: len(ended) >= 120 * share and runner.resident()["chat", "1"] == "ready"
            )
            os.kill(engines[-1].pid, signal.SIGKILL)
        await loading
        await until(lambda: runner.resident()["chat", "1"] == "ready")
        async with aiohttp.ClientSession() as session:
            assert await stream(session, url, "chat", 1) == ("chat@1", "done")
    assert len(engines) == 3
    ends = {end.split(":")[0] for _, end in ended}
    # Never a silence that looks like an end: what was at work failed in words, what came in between was told to wait.
    assert ends <= {"done", "error engine.failed", "status 502", "status 503"}
    assert sum(end == "done" for _, end in ended) >= 120 - 2 * 2 * STREAMS_COUNT
