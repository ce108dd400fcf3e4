"""What surrounds every request: ids, errors as answers, one line of log."""

import structlog


async def test_a_sound_request_id_comes_back_and_any_other_is_replaced(origin):
    async with origin.session.get("/healthz", headers={"x-request-id": "abc-1"}) as reply:
        assert reply.headers["x-request-id"] == "abc-1"
        assert reply.headers["Server"] == "edgeward"
    async with origin.session.get("/healthz", headers={"x-request-id": "a b;" * 80}) as reply:
        assert len(reply.headers["x-request-id"]) == 16


async def test_an_unknown_url_and_a_wrong_method_are_openai_errors(origin):
    async with origin.session.get("/v1/chat") as reply:
        assert reply.status == 404
        assert (await reply.json())["error"]["code"] == "url.unknown"
    async with origin.session.get("/v1/route") as reply:
        assert reply.status == 405
        assert reply.headers["Allow"] == "POST"
        assert (await reply.json())["error"]["code"] == "url.method_not_allowed"


async def test_a_path_of_odd_bytes_is_a_plain_404(origin):
    for path in (b"/v1/models/%ff", b"/%c3%28", b"/v1/blobs/%ed%a0%80"):
        answer = await origin.raw(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 404 "), path


async def test_a_defect_is_a_500_that_keeps_its_cause_to_the_log(origin, monkeypatch):
    def broken(now_s):
        raise KeyError("secret cause")

    monkeypatch.setattr(origin.fleet, "view", broken)
    with structlog.testing.capture_logs() as lines:
        async with origin.session.get("/v1/nodes") as reply:
            assert reply.status == 500
            text = await reply.text()
    assert "secret cause" not in text
    assert reply.headers["x-request-id"] in text
    assert [line["event"] for line in lines] == ["request.broke", "request.answered"]


async def test_one_line_for_each_request_and_heartbeats_are_quiet(origin):
    with structlog.testing.capture_logs() as lines:
        async with origin.session.get("/v1/nodes?x=1", headers={"x-request-id": "me"}) as reply:
            await reply.read()
        async with origin.session.get("/healthz") as reply:
            await reply.read()
    assert lines[0] == {
        "event": "request.answered",
        "log_level": "info",
        "request_id": "me",
        "method": "GET",
        "path": "/v1/nodes",
        "status": 200,
        "code": "",
        "duration_ms": 0.0,
        "client": "127.0.0.1",
    }
    assert (lines[1]["path"], lines[1]["log_level"]) == ("/healthz", "debug")
