"""Spans of calls in a program that uses OpenTelemetry: one a call, and what is sent belongs to it."""

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from edge_node.client import Client, ClientConfig
from edge_node.errors import OverloadedError, StreamBrokenError
from registry.errors import EdgewardError
from tests.opentelemetry_provider import provider_with

SECRET = "a prompt that no span may hold"


@pytest.fixture
def exporter():
    made = InMemorySpanExporter()
    with provider_with(SimpleSpanProcessor(made)):
        yield made


def header_of(span):
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


async def test_a_call_is_one_span_and_the_node_hears_of_it(network, client, make, exporter):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    with trace.get_tracer("app").start_as_current_span("work") as work:
        await client.chat(SECRET, model="chat")
    call, _ = exporter.get_finished_spans()
    assert (call.name, call.kind) == ("chat chat", SpanKind.CLIENT)
    assert call.parent.span_id == work.get_span_context().span_id
    assert network.heads[0]["traceparent"] == header_of(call)
    assert call.attributes["gen_ai.operation.name"] == "chat"
    assert call.attributes["edgeward.node_id"] == "paris"
    assert (call.attributes["edgeward.attempts"], call.attributes["gen_ai.usage.output_tokens"]) == (1, 4)
    assert SECRET not in call.to_json()
    assert "Loire" not in call.to_json()


async def test_the_span_of_a_stream_ends_with_the_stream(network, client, make, exporter):
    network.serve("paris")
    network.script["paris"] = [
        make.streaming(
            [make.chunk("The "), make.chunk("Loire."), make.chunk(finish="stop"), make.usage_chunk]
        )
    ]
    async for _ in client.stream_chat(SECRET, model="chat"):
        assert exporter.get_finished_spans() == ()
    (call,) = exporter.get_finished_spans()
    assert network.heads[0]["traceparent"] == header_of(call)
    assert (call.attributes["edgeward.node_id"], call.attributes["gen_ai.usage.output_tokens"]) == (
        "named",
        2,
    )
    assert call.status.status_code == StatusCode.UNSET


async def test_tries_at_several_nodes_are_one_span(network, client, make, exporter):
    network.serve("paris", "tokyo")
    network.script["paris"] = [lambda _: make.failure("node.draining", 503)]
    network.script["tokyo"] = [lambda _: make.packed(make.whole)]
    await client.chat("hello", model="chat")
    (call,) = exporter.get_finished_spans()
    assert {head["traceparent"] for head in network.heads} == {header_of(call)}
    assert (call.attributes["edgeward.node_id"], call.attributes["edgeward.attempts"]) == ("tokyo", 2)


async def test_failures_say_which(network, client, make, exporter):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.failure("node.overloaded", 429)]
    with pytest.raises(OverloadedError):
        await client.chat("hello", model="chat")
    network.script["paris"] = [make.streaming([make.chunk("The ")], end=False)]
    with pytest.raises(StreamBrokenError):
        async for _ in client.stream_chat("hello", model="chat"):
            pass
    network.origin_up = False
    stream = client.stream_chat("hello", model="other")
    with pytest.raises(EdgewardError) as refused:
        await stream.open()
    codes = [
        (span.attributes["error.type"], span.status.status_code) for span in exporter.get_finished_spans()
    ]
    assert codes == [
        (OverloadedError.code, StatusCode.ERROR),
        (StreamBrokenError.code, StatusCode.ERROR),
        (refused.value.code, StatusCode.ERROR),
    ]


async def test_a_stream_that_is_left_early_ends_its_span(network, client, make, exporter):
    network.serve("paris")
    network.script["paris"] = [make.streaming([make.chunk("The ")] * 50)]
    async with client.stream_chat("hello", model="chat") as stream:
        await anext(stream)
    assert len(exporter.get_finished_spans()) == 1


async def test_what_goes_on_in_the_background_is_not_of_the_call_that_began_it(
    network, client, make, exporter
):
    seen = []
    route = network.route

    async def noting(request):
        seen.append(request.headers.get("traceparent"))
        return await route(request)

    network.route = noting
    network.serve("paris", ttl_s=0.2)
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    await client.chat("hello", model="chat")
    await asyncio.sleep(1.0)
    (call,) = exporter.get_finished_spans()
    assert network.heads[0]["traceparent"] == header_of(call)
    assert all(header is None for header in seen[1:])


async def test_a_call_of_a_thread_belongs_to_the_threads_span(network, make, exporter):
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    config = ClientConfig(origin=(str(network.server.make_url("")).rstrip("/"),), timeout_s=5.0)

    def use():
        with trace.get_tracer("app").start_as_current_span("work") as work, Client(config=config) as client:
            client.chat("hello", model="chat")
        return work.get_span_context().span_id

    work_id = await asyncio.to_thread(use)
    call = next(span for span in exporter.get_finished_spans() if span.name == "chat chat")
    assert call.parent.span_id == work_id
    assert network.heads[0]["traceparent"] == header_of(call)


@pytest.mark.parametrize("uses", [True, False])
async def test_a_program_that_makes_no_spans_sends_none(network, client, make, monkeypatch, uses):
    import sys

    if not uses:
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    network.serve("paris")
    network.script["paris"] = [lambda _: make.packed(make.whole)]
    await client.chat("hello", model="chat")
    assert "traceparent" not in network.heads[0]
