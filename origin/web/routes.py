"""Routing over HTTP: the ranked list for clients that ask, the redirect for those that do not."""

from __future__ import annotations

import dataclasses

import structlog
from aiohttp import web
from msgspec import Struct

from origin.api import RouteAnswer, RouteQuery
from origin.errors import ModelUnknownError, NoNodeAvailableError
from origin.geo.choose import Ask, Decision, choose, parse_model
from origin.geo.client_spot import ClientSpot
from origin.geo.places import PLACE_HEADER, PLACE_PARAMETER, client_place
from origin.web.context import context_of
from origin.web.payload import read_message, reply
from registry.errors import InputInvalidError

log = structlog.get_logger()

SESSION_HEADER = "x-edgeward-session"
NODE_HEADER = "x-edgeward-node"
RTT_HEADER = "x-edgeward-rtt-ms"
_QUERY_LIMIT_BYTES = 64 * 1024
_BYTES_PER_TOKEN = 4  # English text in common vocabularies; only the order of candidates depends on it


class OpenAIRequest(Struct):
    """All that routing looks at in an OpenAI request; the node that answers checks the rest."""

    model: str


async def route(request: web.Request) -> web.Response:
    """POST /v1/route: the nodes that should answer, best first."""
    query, _ = await read_message(request, RouteQuery, _QUERY_LIMIT_BYTES)
    place, source = client_place(
        query.place, request.query.get(PLACE_PARAMETER), request.headers.get(PLACE_HEADER)
    )
    ask = _ask(request, query.model, ClientSpot(place=place, place_source=source))
    ask = dataclasses.replace(
        ask, prompt_tokens=query.prompt_tokens, limit=query.limit, exclude=frozenset(query.exclude)
    )
    decision = _decide(request, ask)
    answer = reply(
        request,
        RouteAnswer(
            model=query.model,
            nodes=decision.nodes,
            ttl_s=context_of(request).config.route_ttl_s,
            place=place,
            place_source=source,
        ),
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def redirect(request: web.Request) -> web.Response:
    """POST /v1/chat/completions and its like: 307 to the node that should answer; method and body stay."""
    asked, body_bytes = await read_message(
        request, OpenAIRequest, context_of(request).config.body_limit_bytes
    )
    return _sent_on(request, asked.model, prompt_tokens=body_bytes // _BYTES_PER_TOKEN)


async def redirect_model(request: web.Request) -> web.Response:
    """/v2/models/…: the same by the model that the URL names; the body may be bytes, and is not looked at."""
    name, version = request.match_info["name"], request.match_info.get("version")
    if version is not None and ("@" in name or ":" in name):
        raise InputInvalidError(
            f"{name[:200]!r} states a version or channel already, and the URL another", param="model"
        )
    return _sent_on(request, name if version is None else f"{name}@{version}")


def inference_routes() -> list[web.RouteDef]:
    """The URLs of the Open Inference Protocol that name a model; a name may have slashes, so longer ones come first."""
    table = []
    for model in ("/v2/models/{name:.+}/versions/{version:[^/]+}", "/v2/models/{name:.+}"):
        table += [
            web.get(f"{model}/ready", redirect_model),
            web.post(f"{model}/infer", redirect_model),
            web.get(model, redirect_model),
        ]
    return table


def _sent_on(request: web.Request, model: str, *, prompt_tokens: int = 0) -> web.Response:
    place, source = client_place(None, request.query.get(PLACE_PARAMETER), request.headers.get(PLACE_HEADER))
    spot = ClientSpot(place=place, place_source=source)
    ask = dataclasses.replace(_ask(request, model, spot), prompt_tokens=prompt_tokens, limit=1)
    best = _decide(request, ask).nodes[0]
    headers = {
        "Location": best.url.rstrip("/") + request.rel_url.raw_path_qs,
        "Cache-Control": "no-store",
        NODE_HEADER: best.node_id,
    }
    if place is not None:
        headers[RTT_HEADER] = f"{best.rtt_ms:.1f}"
    return web.Response(status=307, headers=headers)


def _ask(request: web.Request, model: str, spot: ClientSpot) -> Ask:
    reference, bare = parse_model(model)
    # Without a stated session a client's address stands for it: its requests tend to share a prefix.
    session = request.headers.get(SESSION_HEADER) or request.remote or ""
    return Ask(reference, any_channel=bare, spot=spot, session=session)


def _decide(request: web.Request, ask: Ask) -> Decision:
    context = context_of(request)
    now_s = context.now_s()
    decisions = context.telemetry.decisions
    try:
        decision = choose(context.fleet.view(now_s), ask, context.releases.view)
    except ModelUnknownError:
        decisions.labels("model_unknown").inc()
        raise
    except NoNodeAvailableError:
        decisions.labels("none_available").inc()
        raise
    best = decision.nodes[0]
    decisions.labels(decision.reason).inc()
    context.sharing.note_routed(best.node_id, (ask.reference.name, best.version))
    log.debug(
        "request.routed",
        model=str(ask.reference),
        node_id=best.node_id,
        reason=decision.reason,
        score_s=best.score_s,
        distance_km=best.distance_km,
    )
    return decision
