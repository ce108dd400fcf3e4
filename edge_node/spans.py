"""OpenTelemetry spans of requests: one for each, with the engine's queue, prefill and decode below it.

Names are those of the semantic conventions for generative AI. Spans are made when a request has ended, from what its
account measured, so an answer waits for none of it; they join the trace of the request's W3C traceparent. No prompt,
no answer and no key is ever in one. This is the one file that knows OpenTelemetry, which the extra `otel` installs.
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
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor

    from edge_node.account import Account

_OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
_SEND_TIMEOUT_S = 5.0
_NS = 1_000_000_000


class Spans:
    """Makes the spans of requests that have ended (`edge_node.account.Tracing`).

    Args:
        processor: where spans go.
        now_s: the clock of the accounts.
        now_unix_ns: the clock of spans.
    """

    def __init__(
        self,
        processor: SpanProcessor,
        *,
        node_id: str,
        software: str,
        now_s: Callable[[], float],
        now_unix_ns: Callable[[], int],
    ) -> None:
        resource = Resource.create(
            {"service.name": "edgeward-node", "service.instance.id": node_id, "service.version": software}
        )
        # Not the process-wide provider: several nodes may run in one process.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("edge_node")
        self._propagator = TraceContextTextMapPropagator()
        self._now_s = now_s
        self._now_unix_ns = now_unix_ns

    def ended(self, account: Account, *, status: int) -> None:
        """Make the spans of a request that has just ended; one that asked no model has none."""
        operation = _OPERATIONS.get(account.operation)
        if operation is None:
            return
        now_s, now_ns = self._now_s(), self._now_unix_ns()
        context = self._propagator.extract({"traceparent": account.traceparent})
        span = self._tracer.start_span(
            f"{operation} {account.model}",
            context=context,
            kind=SpanKind.SERVER,
            start_time=now_ns - int((now_s - account.arrived_s) * _NS),
            attributes=_attributes(account, operation, status),
        )
        if account.error:
            span.set_attribute("error.type", account.error)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        if account.started_s is not None:
            started_ns = now_ns - int((now_s - account.started_s) * _NS)
            self._engine_spans(account, set_span_in_context(span), started_ns)
        span.end(now_ns)

    def close(self) -> None:
        """Send what is left; blocks."""
        self._provider.shutdown()

    def _engine_spans(self, account: Account, context: Context, started_ns: int) -> None:
        queue_ns, prefill_ns, decode_ns = (
            int((ms or 0.0) * 1e6) for ms in (account.queue_ms, account.prefill_ms, account.decode_ms)
        )
        read_ns = started_ns - prefill_ns
        for name, begin_ns, end_ns in (
            ("engine queue", read_ns - queue_ns, read_ns),
            ("engine prefill", read_ns, started_ns),
            ("engine decode", started_ns, started_ns + decode_ns),
        ):
            self._tracer.start_span(name, context=context, start_time=begin_ns).end(end_ns)


def open_spans(
    endpoint: str, *, node_id: str, software: str, now_s: Callable[[], float], now_unix_ns: Callable[[], int]
) -> Spans:
    """Spans that go to a collector; `endpoint` is its URL for traces (OTLP over HTTP)."""
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_SEND_TIMEOUT_S)
    return Spans(
        BatchSpanProcessor(exporter), node_id=node_id, software=software, now_s=now_s, now_unix_ns=now_unix_ns
    )


def _attributes(account: Account, operation: str, status: int) -> dict[str, str | int | list[str]]:
    attributes: dict[str, str | int | list[str]] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "edgeward",
        "gen_ai.request.model": account.asked,
        "gen_ai.response.model": account.release,
        "gen_ai.response.id": account.answer_id,
        "gen_ai.usage.input_tokens": account.prompt_tokens,
        "gen_ai.usage.output_tokens": account.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": account.cached_tokens,
        "http.request.method": "POST",
        "http.route": account.route,
        "http.response.status_code": status,
        "edgeward.request_id": account.request_id,
    }
    if account.finish_reason:
        attributes["gen_ai.response.finish_reasons"] = [account.finish_reason]
    if account.cache is not None:
        attributes["edgeward.cache"] = account.cache
    return attributes
