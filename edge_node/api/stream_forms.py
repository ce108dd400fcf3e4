"""The names by which a client asks for a stream, and a node says which one it sends."""

from __future__ import annotations

SSE_TYPE = "text/event-stream"
FRAMES_TYPE = "application/x-edgeward-frames+msgpack"
STREAM_ENCODING = "x-edgeward-stream-encoding"
"""Asks for a stream in zstd: relays copy Content-Encoding carelessly, so Accept-Encoding alone does not."""
