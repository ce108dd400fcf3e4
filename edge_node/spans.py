"""OpenTelemetry spans of requests: one for each, with the engine's queue, prefill and decode below it.

Names are those of the semantic conventions for generative AI. Spans are made when a request has ended, from what its
account measured. No prompt, no answer and no key is ever in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.otlp import open_sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_node.account import Account
    from registry.otlp import ServedSpan, SpanSink

_OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
_NS = 1_000_000_000


class Spans:
    """Makes the spans of requests that have ended (`edge_node.account.Tracing`).

    Args:
        sink: where spans go.
        now_s: the clock of the accounts.
        now_unix_ns: the clock of spans.
    """

    def __init__(self, sink: SpanSink, *, now_s: Callable[[], float], now_unix_ns: Callable[[], int]) -> None:
        self._sink = sink
        self._now_s = now_s
        self._now_unix_ns = now_unix_ns

    def ended(self, account: Account, *, status: int) -> None:
        """Make the spans of a request that has just ended; one that asked no model has none."""
        operation = _OPERATIONS.get(account.operation)
        if operation is None:
            return
        now_s, now_ns = self._now_s(), self._now_unix_ns()
        whole = self._sink.served(
            f"{operation} {account.model}",
            account.traceparent,
            now_ns - int((now_s - account.arrived_s) * _NS),
            now_ns,
            _attributes(account, operation, status),
            failed=status >= 500,
        )
        if account.started_s is not None:
            started_ns = now_ns - int((now_s - account.started_s) * _NS)
            self._engine_spans(account, whole, started_ns)

    def close(self) -> None:
        """Send what is left; blocks."""
        self._sink.close()

    def _engine_spans(self, account: Account, whole: ServedSpan, started_ns: int) -> None:
        queue_ns, prefill_ns, decode_ns = (
            int((ms or 0.0) * 1e6) for ms in (account.queue_ms, account.prefill_ms, account.decode_ms)
        )
        read_ns = started_ns - prefill_ns
        for name, begin_ns, end_ns in (
            ("engine queue", read_ns - queue_ns, read_ns),
            ("engine prefill", read_ns, started_ns),
            ("engine decode", started_ns, started_ns + decode_ns),
        ):
            whole.part(name, begin_ns, end_ns)


def open_spans(
    endpoint: str, *, node_id: str, software: str, now_s: Callable[[], float], now_unix_ns: Callable[[], int]
) -> Spans:
    """Spans that go to a collector; `endpoint` is its URL for traces (OTLP over HTTP)."""
    sink = open_sink(endpoint, service="edgeward-node", instance=node_id, software=software)
    return Spans(sink, now_s=now_s, now_unix_ns=now_unix_ns)


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
    if account.error:
        attributes["error.type"] = account.error
    return attributes
