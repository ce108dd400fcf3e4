"""What is published: the catalog, the bytes of manifests, and the list of models as OpenAI clients read it."""

from __future__ import annotations

from aiohttp import web

from origin.errors import ModelUnknownError
from origin.geo.refusal import near
from origin.web.caching import none_match
from origin.web.context import Context, context_of
from origin.web.letting_in import caller_of
from origin.web.payload import reply
from registry.errors import InputInvalidError, ReleaseUnknownError
from registry.reference import check_name, check_version


async def catalog(request: web.Request) -> web.Response:
    """GET /v1/catalog: every release and every channel."""
    return reply(request, context_of(request).releases.known())


async def manifest(request: web.Request) -> web.Response:
    """GET /v1/manifests/{name}/{version}: the manifest's bytes; what is signed decides which these are."""
    name, version = request.match_info["name"], request.match_info["version"]
    try:
        check_name(name)
        check_version(version)
    except InputInvalidError as error:
        raise ReleaseUnknownError(f"there is no such release: {error.message}", param=error.param) from error
    stored = await context_of(request).releases.manifest(name, version)
    etag = f'"{stored.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache, no-transform"}  # kept, and asked about by the ETag
    if not none_match(request, etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=stored.data, content_type="application/octet-stream", headers=headers)


async def models(request: web.Request) -> web.Response:
    """GET /v1/models: the models that can be asked for, as OpenAI's list."""
    known, caller = _models(context_of(request)), caller_of(request)
    shown = [_model(name, known[name]) for name in sorted(known) if caller.may_ask(name)]
    return web.json_response({"object": "list", "data": shown})


async def model(request: web.Request) -> web.Response:
    """GET /v1/models/{name}: one of them."""
    known = _models(context_of(request))
    name = request.match_info["name"]
    caller_of(request).check_model(name)
    if name not in known:
        raise ModelUnknownError(f"there is no model {name[:80]!r}" + near(name, known), param="model")
    return web.json_response(_model(name, known[name]))


def _models(context: Context) -> dict[str, int]:
    """The names in the catalog and those that nodes hold, with the time of their newest release."""
    view = context.fleet.view(context.now_s())
    created = {
        m.name: 0 for standing in view.standings if standing.state != "down" for m in standing.report.models
    }
    if context.releases.view is not None:
        for release in context.releases.view.releases:
            created[release.name] = max(created.get(release.name, 0), release.created_unix_s)
    return created


def _model(name: str, created_unix_s: int) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": created_unix_s, "owned_by": "edgeward"}
