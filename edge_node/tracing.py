"""Spans of requests, opened where the settings name a collector; OpenTelemetry is imported only then."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import TYPE_CHECKING

from registry.errors import ConfigError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from edge_node.account import Tracing


def open_tracing(endpoint: str, node_id: str, software: str, ends: AsyncExitStack) -> Tracing | None:
    """Where spans go; `ends` gets the way back. None for an empty endpoint.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    if not endpoint:
        return None
    try:
        spans = importlib.import_module("edge_node.spans")
    except ImportError as error:
        raise ConfigError(
            f"node.otlp_endpoint needs {error.name}: install edgeward[otel], or leave it out"
        ) from error
    opened = spans.open_spans(
        endpoint, node_id=node_id, software=software, now_s=time.monotonic, now_unix_ns=time.time_ns
    )
    ends.push_async_callback(asyncio.to_thread, opened.close)
    tracing: Tracing = opened
    return tracing
