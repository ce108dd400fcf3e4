"""`GET /openapi.json`."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata

from aiohttp import web

from edge_node.api.openapi import openapi_document
from registry.wire import to_json


async def openapi(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's form
    """What this node can be asked, in OpenAPI's words."""
    return web.Response(body=_document(), content_type="application/json")


@lru_cache(maxsize=1)
def _document() -> bytes:
    return to_json(openapi_document(metadata.version("edgeward")))
