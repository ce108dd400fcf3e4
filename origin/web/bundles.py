"""What machines are installed from: the installer, with this origin's addresses filled in, and signed bundles."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from aiohttp import web

from origin.errors import BundleUnknownError
from origin.web.caching import IMMUTABLE
from origin.web.context import context_of

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"edgeward-[0-9A-Za-z][0-9A-Za-z.+]*-cp[0-9]+-[0-9a-z_]+\.bundle")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")


async def installer(request: web.Request) -> web.Response:
    """GET /install.sh: the script that `edgeward bundle build` made, told where it came from."""
    context = context_of(request)
    path = _directory(request) / "install.sh"
    try:
        text = await asyncio.to_thread(path.read_text, "utf-8")
    except OSError as error:
        raise BundleUnknownError("there is no installer: `edgeward bundle build` makes one") from error
    public = context.config.public_url or f"{request.scheme}://{request.host}"
    nodes = context.config.nodes_public_url or (context.enrolment.url if context.enrolment else "")
    for mark, url in (("@ORIGIN_URL@", public), ("@NODES_URL@", nodes)):
        # A request says its host itself, and the script is run by a shell.
        text = text.replace(mark, url if _URL.fullmatch(url) else "")
    return web.Response(text=text, content_type="text/x-shellscript", headers={"Cache-Control": "no-cache"})


async def bundle(request: web.Request) -> web.StreamResponse:
    """GET /bundles/{name}: a bundle; its bytes never change, and its signature is inside."""
    name = request.match_info["name"]
    path = _directory(request) / name
    if not _NAME.fullmatch(name) or not await asyncio.to_thread(path.is_file):
        raise BundleUnknownError(f"this origin has no bundle {name[:120]!r}")
    return web.FileResponse(
        path, headers={"Cache-Control": IMMUTABLE, "Content-Type": "application/octet-stream"}
    )


def _directory(request: web.Request) -> Path:
    directory = context_of(request).config.bundles_dir
    if directory is None:
        raise BundleUnknownError("this origin serves no installer: set origin.bundles_dir")
    return directory
