"""Packs and deltas over HTTP: immutable, ranged, streamed through a bounded amount of memory."""

from __future__ import annotations

import structlog
from aiohttp import web

from origin.errors import RangeUnsatisfiableError
from origin.web.caching import IMMUTABLE, none_match, wanted_range
from origin.web.context import context_of
from origin.web.errors import error_answer
from registry.errors import EdgewardError, ObjectMissingError
from registry.layout import DELTAS, is_delta_key

log = structlog.get_logger()


async def blob(request: web.Request) -> web.StreamResponse:
    """GET and HEAD /v1/blobs/{key}: a pack or one range of it."""
    key = request.match_info["key"]
    return await _answer(request, key, f'"{key.rpartition("/")[2]}"')


async def delta(request: web.Request) -> web.StreamResponse:
    """GET and HEAD /v1/deltas/{new}/{base}: the delta between two manifests, or one range of it."""
    new, base = (request.match_info[name] for name in ("new", "base"))
    key = f"{DELTAS}{new}/{base}"
    if not is_delta_key(key):
        raise ObjectMissingError("a delta is named by the digests of two manifests: /v1/deltas/<new>/<base>")
    return await _answer(request, key, f'"{new}.{base}"')


async def _answer(request: web.Request, key: str, etag: str) -> web.StreamResponse:
    context = context_of(request)
    total_bytes = await context.blobs.length_bytes(key)
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE, "Accept-Ranges": "bytes"}
    if not none_match(request, etag):
        return web.Response(status=304, headers=headers)
    wanted = None
    if request.method == "GET":  # a range means something for GET alone: RFC 9110 14.2
        try:
            wanted = wanted_range(request, etag, total_bytes)
        except RangeUnsatisfiableError as error:
            refusal = error_answer(error)
            refusal.headers["Content-Range"] = f"bytes */{total_bytes}"
            return refusal
    offset, length_bytes = wanted or (0, total_bytes)
    answer = web.StreamResponse(status=206 if wanted else 200, headers=headers)
    answer.content_type = "application/octet-stream"
    answer.content_length = length_bytes
    if wanted:
        answer.headers["Content-Range"] = f"bytes {offset}-{offset + length_bytes - 1}/{total_bytes}"
    if request.method == "HEAD" or length_bytes == 0:
        await answer.prepare(request)
        return answer
    await _stream(request, answer, key, offset, length_bytes)
    return answer


async def _stream(
    request: web.Request, answer: web.StreamResponse, key: str, offset: int, length_bytes: int
) -> None:
    """Send a range in pieces. The first is read before the status goes out, so that a store that is away is a 503."""
    context = context_of(request)
    end = offset + length_bytes
    while offset < end:
        piece_bytes = min(context.config.blob_read_bytes, end - offset)
        try:
            piece = await context.blobs.read(key, offset, piece_bytes)
        except EdgewardError as error:
            if not answer.prepared:
                raise
            # The status is out; a connection that breaks is the only way left to say that this is not all.
            log.warning("blob.cut_off", key=key, offset_bytes=offset, problem=error.message)
            raise ConnectionResetError(f"the store failed in the middle of {key}") from error
        if not answer.prepared:
            await answer.prepare(request)
        await answer.write(piece)
        context.telemetry.blob_bytes.inc(piece_bytes)
        offset += piece_bytes
    await answer.write_eof()
