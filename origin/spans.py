"""OpenTelemetry spans of an origin: of requests that belong to a trace, so that it shows why a node was chosen.

An origin joins traces and begins none: what nodes fetch and report is nobody's trace. Nothing of a prompt is in one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.otlp import SpanSink

_NS = 1_000_000_000


class Spans:
    """Makes the spans of requests that have been answered.

    Args:
        sink: where spans go.
        now_s: the clock of requests.
        now_unix_ns: the clock of spans.
    """

    def __init__(self, sink: SpanSink, *, now_s: Callable[[], float], now_unix_ns: Callable[[], int]) -> None:
        self._sink = sink
        self._now_s = now_s
        self._now_unix_ns = now_unix_ns

    def answered(
        self,
        traceparent: str,
        *,
        method: str,
        url: str,
        begun_s: float,
        status: int,
        code: str = "",
        node_id: str = "",
        request_id: str = "",
    ) -> None:
        """A request that carried a trace has just been answered.

        Args:
            traceparent: its header; nothing happens without one.
            method: of HTTP.
            url: the pattern that it fits.
            begun_s: when it came, on the clock of requests.
            status: of the answer.
            code: of the error; "" for none.
            node_id: the node that was named first; "" for none.
            request_id: as the log has it.
        """
        if not traceparent:
            return
        now_ns = self._now_unix_ns()
        said: dict[str, str | int | list[str]] = {
            "http.request.method": method,
            "http.route": url,
            "http.response.status_code": status,
            "edgeward.request_id": request_id,
        }
        if node_id:
            said["edgeward.node_id"] = node_id
        if code:
            said["error.type"] = code
        begin_ns = now_ns - int((self._now_s() - begun_s) * _NS)
        self._sink.served(f"{method} {url}", traceparent, begin_ns, now_ns, said, failed=status >= 500)

    def close(self) -> None:
        """Send what is left; blocks."""
        self._sink.close()


def open_spans(
    endpoint: str,
    *,
    origin_id: str,
    software: str,
    now_s: Callable[[], float],
    now_unix_ns: Callable[[], int],
) -> Spans | None:
    """Where spans go; None for an empty endpoint.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    if not endpoint:
        return None
    try:
        otlp = importlib.import_module("registry.otlp")
    except ImportError as error:
        raise ConfigError(
            f"origin.otlp_endpoint needs {error.name}: install edgeward[otel], or leave it out"
        ) from error
    sink = otlp.open_sink(endpoint, service="edgeward-origin", instance=origin_id, software=software)
    return Spans(sink, now_s=now_s, now_unix_ns=now_unix_ns)
