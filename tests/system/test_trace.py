"""One trace of one request: the program, its call, the origin that chose, the node, the engine; over OTLP, all real."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import defaultdict
from contextlib import contextmanager

import pytest
from aiohttp import web
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from edge_node.client import AsyncClient, ClientConfig
from tests.opentelemetry_provider import provider_with

pytestmark = pytest.mark.system

SECRET = "Tell me about a lighthouse that no span may hold."


class Collector:
    """Takes spans over OTLP, as any collector does; `spans` has (service, span) by the span's id."""

    def __init__(self):
        self.spans = {}
        self.bodies = []

    async def take(self, request):
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            said = {it.key: it.value.string_value for it in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[span.span_id] = (said["service.name"], span)
        return web.Response(content_type="application/x-protobuf")

    def of_trace(self, trace_id):
        found = defaultdict(list)
        for service, span in self.spans.values():
            if span.trace_id == trace_id:
                found[service, span.name].append(span)
        return found


@contextmanager
def collecting():
    """A collector in a thread of this process; gives it and its URL."""
    collector, ready, told = Collector(), threading.Event(), threading.Event()

    async def serve():
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/traces", collector.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
        ready.set()
        await asyncio.to_thread(told.wait)
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield collector
    finally:
        told.set()
        thread.join()


@pytest.fixture(scope="module")
def collector():
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def network(tmp_path_factory, start_network, collector):
    network = LocalNetwork(tmp_path_factory.mktemp("network"), free_ports(1, start_port=24_700))
    said = {f"EDGEWARD_{part}_OTLP_ENDPOINT": collector.url for part in ("NODE", "ORIGIN")}
    os.environ.update(said)
    try:
        start_network(network, SITES[:1])
        yield network
    finally:
        for name in said:
            del os.environ[name]
        network.stop()


async def whole_trace(collector, trace_id, count):
    """What the collector has of a trace once it has so many spans; senders gather for up to 5 s."""
    until_s = time.monotonic() + 30
    while sum(map(len, (found := collector.of_trace(trace_id)).values())) < count:
        assert time.monotonic() < until_s, sorted(found)
        await asyncio.sleep(0.1)
    return found


async def ask(network, *, streamed):
    config = ClientConfig(origin=(network.origin_url,))
    async with AsyncClient(config=config) as client:
        with trace.get_tracer("app").start_as_current_span("work") as work:
            if streamed:
                async for _ in client.stream_chat(SECRET, model="chat", max_tokens=8):
                    pass
            else:
                await client.chat(SECRET, model="chat", max_tokens=8, temperature=1.0)
    return work.get_span_context().trace_id.to_bytes(16, "big")


@pytest.mark.parametrize("streamed", [False, True])
async def test_client_origin_node_and_engine_are_one_trace(network, collector, streamed):
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=collector.url))
    with provider_with(processor, resource=Resource.create({"service.name": "app"})):
        trace_id = await ask(network, streamed=streamed)
    found = await whole_trace(collector, trace_id, 7)
    ((work,), (call,), (route,), (served,)) = (
        found["app", "work"],
        found["app", "chat chat"],
        found["edgeward-origin", "POST /v1/route"],
        found["edgeward-node", "chat chat"],
    )
    assert work.parent_span_id == b""
    assert call.parent_span_id == work.span_id
    assert route.parent_span_id == served.parent_span_id == call.span_id
    engine = [found["edgeward-node", f"engine {part}"] for part in ("queue", "prefill", "decode")]
    assert [[span.parent_span_id for span in spans] for spans in engine] == [[served.span_id]] * 3
    assert sum(map(len, found.values())) == 7
    # In time, too: asked the origin, then the node, within the call (all clocks are this machine's).
    slack_ns = 50_000_000
    assert work.start_time_unix_nano <= call.start_time_unix_nano <= route.start_time_unix_nano + slack_ns
    assert route.end_time_unix_nano <= served.start_time_unix_nano + slack_ns
    assert served.end_time_unix_nano <= call.end_time_unix_nano + slack_ns
    ids = {it.key: it.value.string_value for it in route.attributes}
    assert (
        ids["edgeward.node_id"]
        == {it.key: it.value.string_value for it in call.attributes}["edgeward.node_id"]
    )
    assert not any(b"lighthouse" in body for body in collector.bodies)
