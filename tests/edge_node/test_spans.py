"""Spans of real requests: in memory, and at a real OTLP receiver."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from edge_node.errors import EngineFailedError
from edge_node.spans import Spans, open_spans
from registry.otlp import SpanSink

CHAT = "/v1/chat/completions"
SECRET = "a prompt that no span may hold"
ASK = {"model": "chat", "messages": [{"role": "user", "content": SECRET}], "temperature": 0}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "Authorization": "Bearer secret-key"}


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
async def front(make_front, exporter):
    seconds = itertools.count()
    spans = Spans(
        SpanSink(SimpleSpanProcessor(exporter), service="edgeward-node", instance="node-a", software="0"),
        now_s=lambda: next(seconds) / 1000 + 1, now_unix_ns=lambda: 1_800_000_000_000_000_000,
    )  # fmt: skip
    yield await make_front(cache_bytes=2**20, tracing=spans)
    spans.close()


async def test_a_request_is_a_span_of_the_callers_trace_with_the_engines_below(front, exporter):
    response = await front.client.post(CHAT, json=ASK, headers=HEADERS)
    answer = await response.json()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"chat chat", "engine queue", "engine prefill", "engine decode"}
    span = spans["chat chat"]
    assert (span.kind, f"{span.context.trace_id:032x}") == (SpanKind.SERVER, TRACE)
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.attributes["gen_ai.operation.name"] == "chat"
    assert span.attributes["gen_ai.response.model"] == "chat@1.2.0"
    assert span.attributes["gen_ai.response.id"] == answer["id"]
    assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert span.attributes["gen_ai.usage.input_tokens"] == 7
    assert span.attributes["gen_ai.usage.output_tokens"] == 3
    assert span.attributes["gen_ai.usage.cache_read.input_tokens"] == 3
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["edgeward.cache"] == "miss"
    prefill = spans["engine prefill"]
    assert prefill.end_time - prefill.start_time == 20_000_000
    assert spans["engine queue"].end_time == prefill.start_time
    assert spans["engine decode"].start_time == prefill.end_time
    for name in ("engine queue", "engine prefill", "engine decode"):
        assert spans[name].parent.span_id == span.context.span_id
    everything = " ".join(span.to_json() for span in spans.values())
    assert SECRET not in everything
    assert "secret-key" not in everything
    assert "Hello" not in everything


async def test_kept_answers_have_a_span_too_and_nothing_below(front, exporter):
    for _ in range(3):
        await (await front.client.post(CHAT, json=ASK)).read()
    spans = [span for span in exporter.get_finished_spans() if span.name == "chat chat"]
    assert [span.attributes["edgeward.cache"] for span in spans] == ["miss", "hit", "hit"]
    assert len(exporter.get_finished_spans()) == 6
    assert 'edge_cache_requests_total{state="hit"} 2.0' in front.metrics.page().decode()


async def test_a_failure_says_which(front, exporter):
    front.residents.chat.script = (EngineFailedError("died"),)
    await front.client.post(CHAT, json=ASK)
    [span] = exporter.get_finished_spans()
    assert span.attributes["error.type"] == "engine.failed"
    assert span.status.status_code is StatusCode.ERROR
    await front.client.get("/v1/models")
    assert len(exporter.get_finished_spans()) == 1


async def test_a_collector_gets_them_over_http(make_front):
    received = []

    async def traces(request):
        received.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", traces)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    seconds = itertools.count()
    spans = open_spans(
        url, node_id="node-a", software="0", now_s=lambda: next(seconds) / 1000,
        now_unix_ns=lambda: 1_800_000_000_000_000_000,
    )  # fmt: skip
    front = await make_front(tracing=spans)
    await (await front.client.post(CHAT, json=ASK, headers=HEADERS)).read()
    await asyncio.to_thread(spans.close)
    await runner.cleanup()
    [resource] = received[0].resource_spans
    assert {entry.key: entry.value.string_value for entry in resource.resource.attributes}["service.instance.id"] == (
        "node-a"
    )  # fmt: skip
    told = [span for scope in resource.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in told} == {TRACE}
    assert len(told) == 4
