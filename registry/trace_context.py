"""The trace that a program's work belongs to, for the requests that it sends (W3C Trace Context).

A library makes no traces of its own accord: where the program uses OpenTelemetry, its spans are joined, and where it
does not, this costs one look into a table. Nothing is imported for it.
"""

from __future__ import annotations

import sys
from typing import Any

_API = "opentelemetry.trace"


def tracing_api() -> Any:
    """OpenTelemetry's API, if this program uses it; None if not."""
    return sys.modules.get(_API)


def trace_headers() -> dict[str, str]:
    """The header that makes what a server does a part of the span that is current here; none outside of a span."""
    api = tracing_api()
    if api is None:
        return {}
    span = api.get_current_span()
    context = span.get_span_context()
    # What goes on in the background after a call was begun inside of its span, and is no part of it.
    if not context.is_valid or getattr(span, "end_time", None) is not None:
        return {}
    return {
        "traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    }
