"""Spans for a collector: the one file that knows OpenTelemetry's SDK, which the extra `otel` installs.

Spans are made after the fact, from what was measured, so nothing that is timed waits for them; they join the trace of
a W3C traceparent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, Tracer

    Attributes = Mapping[str, str | int | list[str]]

_SEND_TIMEOUT_S = 5.0


class ServedSpan:
    """The span of a request that was answered."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._context = set_span_in_context(span)

    def part(self, name: str, begin_ns: int, end_ns: int) -> None:
        """Add a part of it."""
        self._tracer.start_span(name, context=self._context, start_time=begin_ns).end(end_ns)


class SpanSink:
    """Where the spans of one part of the network go.

    Args:
        processor: takes them.
        service: the part's name, such as `edgeward-node`.
        instance: which one it is.
        software: its version.
    """

    def __init__(self, processor: SpanProcessor, *, service: str, instance: str, software: str) -> None:
        resource = Resource.create(
            {"service.name": service, "service.instance.id": instance, "service.version": software}
        )
        # Not the process-wide provider: several parts may run in one process.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(service)
        self._propagator = TraceContextTextMapPropagator()

    def served(
        self,
        name: str,
        traceparent: str,
        begin_ns: int,
        end_ns: int,
        attributes: Attributes,
        *,
        failed: bool = False,
    ) -> ServedSpan:
        """Add a request that was answered.

        Args:
            name: of the span.
            traceparent: the header of the request; without one it begins a trace.
            begin_ns: when, by the Unix clock.
            end_ns: until when.
            attributes: what is known of it.
            failed: whether that was our failure.
        """
        span = self._tracer.start_span(
            name,
            context=self._propagator.extract({"traceparent": traceparent}),
            kind=SpanKind.SERVER,
            start_time=begin_ns,
            attributes=attributes,
        )
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(end_ns)
        return ServedSpan(self._tracer, span)

    def close(self) -> None:
        """Send what is left; blocks."""
        self._provider.shutdown()


def open_sink(endpoint: str, *, service: str, instance: str, software: str) -> SpanSink:
    """Sends spans to a collector, some at a time; `endpoint` is its URL for traces (OTLP over HTTP)."""
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_SEND_TIMEOUT_S))
    return SpanSink(processor, service=service, instance=instance, software=software)
