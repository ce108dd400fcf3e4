"""OpenTelemetry's provider for a whole program, for the time of a test."""

from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once


@contextmanager
def provider_with(processor, **more):
    """The program's provider, whose spans go to this processor."""
    provider = TracerProvider(shutdown_on_exit=False, **more)
    provider.add_span_processor(processor)
    before = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
    trace.set_tracer_provider(provider)
    try:
        yield provider
    finally:
        provider.shutdown()
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = before
