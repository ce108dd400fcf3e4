"""What surrounds every request: ids, errors in one shape, health."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from edge_node.errors import ModelNotReadyError
from edge_node.scheduler import Scheduler
from edge_node.server import Limits
from origin.api import ModelReport

CHAT = "/v1/chat/completions"
ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}


async def test_an_unknown_url_is_told_in_json(front):
    response = await front.client.get("/v1/nothing")
    error = (await response.json())["error"]
    assert (response.status, error["type"], error["code"]) == (404, "not_found", "url.unknown")
    assert "/v1/nothing" in error["message"]
    assert (response.headers["x-edgeward-node"], response.headers["Server"]) == ("node-a", "edgeward")


async def test_a_wrong_method_is_told_in_json(front):
    response = await front.client.get(CHAT)
    assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert (await response.json())["error"]["code"] == "method.not_allowed"


async def test_the_clients_request_id_comes_back_if_it_is_one(front):
    for sent, kept in (("abc-1", True), ("x" * 200, False), ("a b", False), ("", False)):
        response = await front.client.get("/v1/models", headers={"x-request-id": sent})
        got = response.headers["x-request-id"]
        assert (got == sent) is kept
        assert got


async def test_engine_ids_are_unique_whatever_the_client_sends(front):
    for _ in range(2):
        await front.client.post(CHAT, json=ASK, headers={"x-request-id": "same"})
    first, second = front.residents.chat.commands
    assert first.request_id != second.request_id


async def test_a_bug_is_a_500_logged_once_with_the_id(front):
    front.residents.chat.script = (RuntimeError("the secret inside"),)
    with structlog.testing.capture_logs() as lines:
        response = await front.client.post(CHAT, json=ASK, headers={"x-request-id": "bug-1"})
    error = (await response.json())["error"]
    assert (response.status, error["type"], error["code"]) == (500, "server_error", "internal")
    assert "secret" not in error["message"]
    assert response.headers["x-should-retry"] == "false"
    [line] = [line for line in lines if line["event"] == "request.failed"]
    assert line["request_id"] == "bug-1"


async def test_a_malformed_reference_is_the_clients_fault(front):
    response = await front.client.post(CHAT, json={**ASK, "model": "../../etc/passwd"})
    assert response.status == 400


async def test_errors_are_msgpack_for_who_asks(front):
    response = await front.client.post(CHAT, json={}, headers={"Accept": "application/msgpack"})
    assert response.status == 400
    assert response.headers["Content-Type"] == "application/msgpack"


async def test_alive(front):
    response = await front.client.get("/healthz")
    assert (response.status, await response.json()) == (200, {"alive": True, "node_id": "node-a"})
    assert (await front.client.head("/healthz")).status == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"origin_up": False, "origin_age_s": 900.0}, 200),
        ({"draining": True}, 503),
        ({"models": ()}, 503),
        ({"models": (ModelReport(name="chat", version="1.2.0", state="loading"),)}, 503),
    ],
)
async def test_ready_when_some_model_answers(make_front, make_status, changes, status):
    front = await make_front(status=lambda: make_status(**changes))
    response = await front.client.get("/readyz")
    body = await response.json()
    assert (response.status, body["ready"]) == (status, status == 200)
    assert body["origin_age_s"] == changes.get("origin_age_s", 0.5)
    assert [model["state"] for model in body["models"]] == [
        model.state for model in make_status(**changes).models
    ]


async def test_the_page_of_metrics(front):
    await front.client.post(CHAT, json=ASK)
    response = await front.client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    page = await response.text()
    assert 'edge_requests_total{code="200",model="chat",route="/v1/chat/completions"} 1.0' in page
    assert 'edge_requests_running{model="chat"} 0.0' in page


async def test_models_have_what_a_client_needs_to_choose(front):
    response = await front.client.get("/v1/models")
    chat, embed = (await response.json())["data"]
    assert chat == {
        "id": "chat",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "edgeward",
        "version": "1.2.0",
        "abilities": ["chat", "completion"],
        "context_tokens": 512,
        "asleep": False,
    }
    assert embed["id"] == "team/embed"


@pytest.mark.parametrize("head", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-A: "])
async def test_a_connection_that_sends_no_whole_head_is_closed(make_front, head):
    front = await make_front(limits=Limits(connection_idle_s=0.05))
    reader, writer = await asyncio.open_connection(front.client.host, front.client.port)
    writer.write(head)
    async with asyncio.timeout(10):
        while data := await reader.read():
            assert not data.startswith(b"HTTP/1.1 2")
    writer.close()


async def test_a_cold_model_says_how_far_it_is(front):
    front.residents.refusal = ModelNotReadyError(
        "being fetched", retry_after_s=42.0, state="fetching", done_bytes=30, total_bytes=100
    )
    response = await front.client.post(CHAT, json=ASK)
    assert (response.status, response.headers["Retry-After"]) == (503, "42")
    body = await response.json()
    assert body["loading"] == {"state": "fetching", "eta_s": 42.0, "done_bytes": 30, "total_bytes": 100}
    assert body["error"]["code"] == "model.not_ready"


async def test_every_answer_says_how_long_it_took(front):
    for path in ("/v1/models", "/nothing", "/healthz"):
        response = await front.client.get(path)
        assert response.headers["Server-Timing"].startswith("total;dur=")


async def test_one_that_cannot_begin_in_time_is_refused_at_once(make_front, until, hello):
    front = await make_front(scheduler=Scheduler(queue_limit_count=9))
    await front.client.post(CHAT, json=ASK)  # measured: 70 ms
    gate = asyncio.Event()
    front.residents.chat.script = (gate, *hello)
    inside = [asyncio.create_task(front.client.post(CHAT, json=ASK)) for _ in range(4)]
    await until(lambda: len(front.residents.chat.commands) == 5)
    for header, value in (("x-edgeward-timeout-ms", "10"), ("x-stainless-read-timeout", "0.01")):
        response = await front.client.post(CHAT, json=ASK, headers={header: value})
        assert response.status == 429
        assert int(response.headers["retry-after-ms"]) >= 50
    gate.set()
    assert [(await task).status for task in inside] == [200] * 4


async def test_one_whose_time_has_passed_before_the_engine_began_is_refused(front):
    front.residents.chat.script = (asyncio.Event(),)
    response = await front.client.post(CHAT, json=ASK, headers={"x-edgeward-timeout-ms": "20"})
    assert (response.status, (await response.json())["error"]["code"]) == (429, "node.overloaded")
    assert front.residents.chat.ended == ["cancelled"]


async def test_vectors_that_come_too_late_for_their_client_are_not_waited_for(front, until):
    front.residents.embed.script = (asyncio.Event(),)
    response = await front.client.post(
        "/v1/embeddings",
        json={"model": "team/embed", "input": "x"},
        headers={"x-edgeward-timeout-ms": "20"},
    )
    assert (response.status, (await response.json())["error"]["code"]) == (429, "node.overloaded")
    assert "Retry-After" in response.headers
    await until(
        lambda: front.scheduler.load("team/embed", now_s=0.0)[:2] == (0, 0) and not front.residents.held_count
    )


async def test_a_large_body_is_not_parsed_when_every_queue_is_full(make_front, until, hello):
    front = await make_front(scheduler=Scheduler(queue_limit_count=1))
    gate = asyncio.Event()
    front.residents.chat.script = front.residents.embed.script = (gate, *hello)
    inside = [asyncio.create_task(front.client.post(CHAT, json=ASK)) for _ in range(2)]
    await until(lambda: len(front.residents.chat.commands) == 2)
    chat = front.residents.ready_models()[:1]
    front.residents.ready_models = lambda: chat
    headers = {"Content-Type": "application/json"}
    response = await front.client.post(CHAT, data=b"{" * 20_000, headers=headers)
    assert response.status == 429
    gate.set()
    assert [(await task).status for task in inside] == [200] * 2
    assert (await front.client.post(CHAT, data=b"{" * 20_000, headers=headers)).status == 400
