"""The header of the trace that work belongs to: that of the program's current span, and none without one."""

import subprocess
import sys

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from registry.trace_context import trace_headers


@pytest.fixture
def tracer():
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider.get_tracer("test")
    provider.shutdown()


def test_a_span_that_is_current(tracer):
    assert trace_headers() == {}
    with tracer.start_as_current_span("work") as span:
        said = span.get_span_context()
        expected = f"00-{said.trace_id:032x}-{said.span_id:016x}-{said.trace_flags:02x}"
        assert said.trace_flags & 1
        assert trace_headers() == {"traceparent": expected}
    assert trace_headers() == {}


def test_a_span_that_has_ended_is_nobodys_trace_any_more(tracer):
    span = tracer.start_span("work")
    token = context.attach(trace.set_span_in_context(span))
    try:
        assert trace_headers()
        span.end()
        assert trace_headers() == {}
    finally:
        context.detach(token)


def test_what_is_not_sampled_says_so():
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    with provider.get_tracer("test").start_as_current_span("work"):
        assert not int(trace_headers()["traceparent"][-2:], 16) & 1


def test_a_program_without_opentelemetry_does_not_get_it():
    code = (
        "import sys, registry.trace_context as it, edge_node.client; "
        "assert it.trace_headers() == {}; assert not any(name.startswith('opentelemetry') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
