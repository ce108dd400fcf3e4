"""What surrounds every request: ids, errors in one shape, health."""

from __future__ import annotations

import pytest
import structlog

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
