"""Signed metadata over HTTP: numbered files never change, the timestamp is never cached."""

from __future__ import annotations

from aiohttp import web

from origin.web.caching import IMMUTABLE, none_match
from origin.web.context import context_of
from origin.web.letting_in import check_list_reader
from registry.digest import digest_of

_TIMESTAMP = "timestamp.json"


async def trust(request: web.Request) -> web.Response:
    """GET /v1/trust/{file}: one file of signed metadata, as this origin has verified it."""
    file = request.match_info["file"]
    check_list_reader(request, file)
    data = context_of(request).trust.file(file)
    etag = f'"{digest_of(data)}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache" if file == _TIMESTAMP else IMMUTABLE}
    if not none_match(request, etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=data, content_type="application/json", headers=headers)
