"""Chunks for other nodes: what this one has of a release, and the raw bytes of one chunk, a few at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from edge_node.errors import ChunkMissingError, ChunksBusyError
from edge_node.peers import VARIANTS_HEADER
from edge_node.web.parts import PARTS
from registry.digest import parse_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_READS_AT_ONCE_COUNT = 4
_WAITING_LIMIT_COUNT = 64
_RETRY_AFTER_S = 1.0
_IMMUTABLE = "public, max-age=31536000, immutable, no-transform"
_TURNS = web.AppKey("chunk_turns", asyncio.Semaphore)
_WAITING = web.AppKey("chunk_waiting", list[int])


def prepare(app: web.Application) -> None:
    """Give a node's application what these handlers need."""
    app[_TURNS] = asyncio.Semaphore(_READS_AT_ONCE_COUNT)
    app[_WAITING] = [0]


async def have(request: web.Request) -> web.Response:
    """GET /v1/chunks/have?manifest=SHA256: a bitmap of the chunks of that manifest that are here."""
    manifest = parse_digest(request.query.get("manifest", ""))
    shelf = request.app[PARTS].shelf
    bitmap, variants = await _in_turn(request, lambda: (shelf.have(manifest), shelf.variants(manifest)))
    headers = {"Cache-Control": "no-store"}
    if variants and all(name.isascii() and name.isprintable() for name in variants):
        headers[VARIANTS_HEADER] = ",".join(variants)
    # Not an error: peers ask again and again until there is something.
    return web.Response(status=204 if bitmap is None else 200, body=bitmap, headers=headers)


async def chunk(request: web.Request) -> web.Response:
    """GET /v1/chunks/{sha256}: the raw bytes, which are checked before they go out."""
    digest = parse_digest(request.match_info["sha256"])
    raw = await _in_turn(request, lambda: request.app[PARTS].shelf.read(digest))
    if raw is None:
        raise ChunkMissingError(f"this node has no whole chunk {digest}")
    request.app[PARTS].metrics.chunk_served(served_bytes=len(raw))
    return web.Response(body=raw, headers={"Cache-Control": _IMMUTABLE, "ETag": f'"{digest}"'})


async def _in_turn(request: web.Request, work: Callable[[], T]) -> T:
    """Do blocking work in a thread, when it is its turn; models that answer must not wait for peers."""
    waiting = request.app[_WAITING]
    if waiting[0] >= _WAITING_LIMIT_COUNT:
        raise ChunksBusyError(
            "this node is sending as many chunks as it can; ask another", retry_after_s=_RETRY_AFTER_S
        )
    waiting[0] += 1
    try:
        async with request.app[_TURNS]:
            return await asyncio.to_thread(work)
    finally:
        waiting[0] -= 1
