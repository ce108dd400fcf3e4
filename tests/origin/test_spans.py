"""Spans of an origin: of requests that carry a trace, by both ways that answer them, and of no others."""

import sys

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from origin.api import ModelReport, NodeReport
from origin.config import OriginConfig
from origin.spans import Spans, open_spans
from registry.errors import ConfigError
from registry.otlp import SpanSink

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
SECRET = "a prompt that no span may hold"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter):
    sink = SpanSink(SimpleSpanProcessor(exporter), service="edgeward-origin", instance="a", software="0")
    made = Spans(sink, now_s=lambda: 10.5, now_unix_ns=lambda: 1_800_000_000_000_000_000)
    yield made
    made.close()


def test_a_span_is_of_the_callers_trace(spans, exporter):
    spans.answered(HEADERS["traceparent"], method="POST", url="/v1/route", begun_s=10.25, status=200, node_id="fra",
                   request_id="r-1")  # fmt: skip
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind, f"{span.context.trace_id:032x}") == (
        "POST /v1/route",
        SpanKind.SERVER,
        TRACE,
    )
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.end_time - span.start_time == 250_000_000
    assert dict(span.attributes) == {
        "http.request.method": "POST", "http.route": "/v1/route", "http.response.status_code": 200,
        "edgeward.request_id": "r-1", "edgeward.node_id": "fra",
    }  # fmt: skip
    assert span.resource.attributes["service.name"] == "edgeward-origin"


def test_refusals_name_their_code_and_only_failures_of_ours_are_failures(spans, exporter):
    for status, code in ((404, "model.unknown"), (503, "node.none_available")):
        spans.answered(
            HEADERS["traceparent"], method="POST", url="/v1/route", begun_s=10, status=status, code=code
        )
    unknown, none = exporter.get_finished_spans()
    assert (unknown.attributes["error.type"], unknown.status.status_code) == (
        "model.unknown",
        StatusCode.UNSET,
    )
    assert (none.attributes["error.type"], none.status.status_code) == (
        "node.none_available",
        StatusCode.ERROR,
    )


@pytest.mark.parametrize(
    "header", ["", "nonsense", "00-zz-00-01", "00-" + "0" * 32 + f"-{PARENT}-01", "\x00" * 55]
)
def test_what_is_no_trace_breaks_nothing(spans, exporter, header):
    spans.answered(header, method="POST", url="/v1/route", begun_s=10, status=200)
    found = exporter.get_finished_spans()
    assert [span.parent for span in found] == ([] if not header else [None])


def test_a_trace_that_is_not_sampled_has_none(spans, exporter):
    spans.answered(f"00-{TRACE}-{PARENT}-00", method="POST", url="/v1/route", begun_s=10, status=200)
    assert exporter.get_finished_spans() == ()


def test_where_no_collector_is_named_there_are_none(monkeypatch):
    said = {"origin_id": "a", "software": "0", "now_s": lambda: 0, "now_unix_ns": lambda: 0}
    assert open_spans("", **said) is None
    monkeypatch.setitem(sys.modules, "registry.otlp", None)
    with pytest.raises(ConfigError, match="install edgeward"):
        open_spans("http://127.0.0.1:4318/v1/traces", **said)
    with pytest.raises(ConfigError, match="otlp_endpoint"):
        OriginConfig(otlp_endpoint="localhost:4318")


async def test_a_running_origin_makes_them_by_both_ways(origin, store, publish, exporter):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    ready = ModelReport(name="chat", version="1.0", state="ready", slots=2, service_s=0.5)
    await origin.client.report(
        NodeReport(node_id="fra", incarnation=1, url="http://fra.example", models=(ready,))
    )
    ask = {"model": "chat", "messages": [{"role": "user", "content": SECRET}]}
    async with origin.session.post("/v1/route", json={"model": "chat"}, headers=HEADERS) as quick:
        assert quick.status == 200
    async with origin.session.post("/v1/route?x=1", json={"model": "chat"}, headers=HEADERS) as slow:
        assert slow.status == 200
    async with origin.session.post(
        "/v1/chat/completions", json=ask, headers=HEADERS, allow_redirects=False
    ) as sent_on:
        assert sent_on.status == 307
    async with origin.session.get("/healthz", headers=HEADERS) as health:
        assert health.status == 200
    async with origin.session.post("/v1/route", json={"model": "chat"}) as without:
        assert without.status == 200
    found = exporter.get_finished_spans()
    assert [span.name for span in found] == ["POST /v1/route", "POST /v1/route", "POST /v1/chat/completions"]
    assert {span.attributes["edgeward.node_id"] for span in found} == {"fra"}
    assert {f"{span.parent.span_id:016x}" for span in found} == {PARENT}
    assert {span.attributes["edgeward.request_id"] for span in found} == {
        reply.headers["x-request-id"] for reply in (quick, slow, sent_on)
    }
    assert SECRET not in " ".join(span.to_json() for span in found)
