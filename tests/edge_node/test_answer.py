"""What a request takes it gives back, however it ends."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
import structlog

from edge_node.engines import Finished
from edge_node.errors import DrainingError, EngineFailedError, ModelNotReadyError
from edge_node.scheduler import Scheduler
from edge_node.server import Limits

CHAT = "/v1/chat/completions"
SECRET = "a prompt that no log may hold"
ASK = {"model": "chat", "messages": [{"role": "user", "content": SECRET}]}


@pytest.fixture
def settled(until):
    """Waits for the end of the request's handler, and checks that it gave its place back."""

    async def check(front):
        await until(lambda: front.residents.chat.stopped.is_set() and not front.residents.held_count)
        await until(lambda: 'code="' in front.metrics.page().decode())  # its account is closed
        assert front.scheduler.load("chat", now_s=0.0)[:2] == (0, 0)

    return check


async def hang_up(front, *, stream, after=b""):
    """Ask, wait until the engine works (and `after` has arrived), then hang up."""
    asking = asyncio.create_task(front.client.post(CHAT, json={**ASK, "stream": stream}))
    async with asyncio.timeout(10):
        await front.residents.chat.asked.wait()
        if after:
            response = await asking
            seen = b""
            while after not in seen:
                seen += await response.content.readany()
            response.close()
        asking.cancel()


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging_up_before_the_first_token_stops_the_engine(front, settled, stream):
    front.residents.chat.script = (asyncio.Event(),)
    await hang_up(front, stream=stream)
    await settled(front)
    assert front.residents.chat.ended == ["cancelled"]
    assert 'code="499"' in front.metrics.page().decode()


async def test_hanging_up_on_comments_stops_the_engine(make_front, settled):
    front = await make_front(limits=Limits(stream_patience_s=0, keep_alive_s=60))
    front.residents.chat.script = (asyncio.Event(),)
    await hang_up(front, stream=True, after=b": queued")
    await settled(front)
    assert front.residents.chat.ended == ["cancelled"]


async def test_hanging_up_in_the_middle_stops_the_engine_and_keeps_the_measure(front, settled, hello):
    front.residents.chat.script = (*hello[:2], asyncio.Event())
    await hang_up(front, stream=True, after=b"Hel")
    await settled(front)
    assert front.residents.chat.ended == ["cancelled"]
    assert front.scheduler.load("chat", now_s=0.0).service_s > 0.02


async def test_a_full_queue_refuses_and_those_inside_are_answered(make_front, settled, until, hello):
    front = await make_front(scheduler=Scheduler(queue_limit_count=1))
    gate = asyncio.Event()
    front.residents.chat.script = (gate, *hello)
    inside = [asyncio.create_task(front.client.post(CHAT, json=ASK)) for _ in range(2)]
    await until(lambda: len(front.residents.chat.commands) == 2)
    refused = await front.client.post(CHAT, json=ASK)
    assert refused.status == 429
    assert int(refused.headers["retry-after-ms"]) > 0
    assert (await refused.json())["error"]["type"] == "overloaded"
    page = await (await front.client.get("/metrics")).text()
    assert 'edge_requests_running{model="chat"} 1.0' in page
    assert 'edge_requests_waiting{model="chat"} 1.0' in page
    gate.set()
    assert [(await task).status for task in inside] == [200, 200]
    await settled(front)
    assert front.scheduler.load("chat", now_s=0.0).service_s == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        (DrainingError("stopping", retry_after_s=3), 503, "unavailable"),
        (ModelNotReadyError("loading", retry_after_s=2), 503, "unavailable"),
        (EngineFailedError("died"), 502, "server_error"),
    ],
)
async def test_a_node_that_cannot_says_so(front, refusal, status, kind):
    front.residents.refusal = refusal
    response = await front.client.post(CHAT, json=ASK)
    error = (await response.json())["error"]
    assert (response.status, error["type"], error["code"]) == (status, kind, refusal.code)


@pytest.mark.parametrize("script", [(RuntimeError("a bug"),), (EngineFailedError("died"),)])
async def test_a_failed_engine_leaves_nothing_behind(front, settled, script):
    front.residents.chat.script = script
    with structlog.testing.capture_logs():
        for _ in range(8):  # more than slots and queue would hold
            response = await front.client.post(CHAT, json=ASK)
            assert response.status in {500, 502}
    await settled(front)


async def test_an_answer_that_the_engine_cancelled_is_a_failure(front, hello):
    end = Finished(request_id="", reason="cancelled", completion_tokens=1, decode_s=0.1)
    front.residents.chat.script = (*hello[:2], end)
    response = await front.client.post(CHAT, json=ASK)
    assert response.status == 502


async def test_one_wide_line_a_request(front, settled):
    with structlog.testing.capture_logs() as lines:
        response = await front.client.post(CHAT, json=ASK, headers={"x-request-id": "mine-1"})
        await response.read()
        await settled(front)
    [line] = [line for line in lines if line["event"] == "request.answered"]
    assert line["request_id"] == "mine-1"
    assert (line["route"], line["status"], line["error"]) == (CHAT, 200, "")
    assert (line["model"], line["release"], line["finish_reason"]) == ("chat", "chat@1.2.0", "stop")
    assert (line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"]) == (7, 3, 3)
    assert (line["queue_ms"], line["prefill_ms"]) == (1.0, 20.0)
    assert 0 < line["first_token_ms"] < line["total_ms"]
    assert line["request_bytes"] > 80
    assert line["response_bytes"] > 200
    assert SECRET not in str(lines)


async def test_a_failed_stream_is_counted_by_its_error_not_by_its_head(front, settled, hello):
    front.residents.chat.script = (*hello[:2], EngineFailedError("died"))
    with structlog.testing.capture_logs() as lines:
        await (await front.client.post(CHAT, json={**ASK, "stream": True})).read()
        await settled(front)
    [line] = [line for line in lines if line["event"] == "request.answered"]
    assert (line["status"], line["error"]) == (502, "engine.failed")


async def test_timings_of_a_whole_answer(front):
    response = await front.client.post(CHAT, json=ASK)
    timing = response.headers["Server-Timing"]
    assert timing.startswith("queue;dur=1.0, prefill;dur=20.0, decode;dur=50.0, total;dur=")
    page = front.metrics.page().decode()
    assert 'edge_tokens_total{direction="completion"} 3.0' in page
    assert 'edge_time_to_first_token_seconds_count{model="chat"} 1.0' in page


async def test_a_client_cannot_make_series(front):
    for number in range(5):
        await front.client.post(CHAT, json={**ASK, "model": f"made-up-{number}"})
        await front.client.get(f"/made/up/{number}")
    page = front.metrics.page().decode()
    assert "made" not in page
    assert 'edge_requests_total{code="404",model="unknown",route="/v1/chat/completions"} 5.0' in page
    assert 'edge_requests_total{code="404",model="unknown",route="unknown"} 5.0' in page


def test_the_scripted_events_are_the_protocols(hello):
    assert all(isinstance(event, msgspec.Struct) for event in hello)
