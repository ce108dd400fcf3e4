"""Routing over HTTP: the ranked list for clients that ask, the redirect for those that do not."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from origin.api import RouteQuery
from origin.errors import ModelUnknownError, NoNodeAvailableError
from origin.geo.places import PLACE_HEADER, PLACE_PARAMETER
from origin.prefixes import client_name
from origin.web.context import NODE_NAMED, context_of, remote_of
from origin.web.deciding import list_for, with_tickets
from origin.web.letting_in import caller_of
from origin.web.payload import read_message, reply
from origin.web.prompts import OpenAIRequest, prompt_beginning
from origin.web.sending_on import send_on
from registry.bodies import form_of
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from origin.web.context import Context

SESSION_HEADER = "x-edgeward-session"
QUERY_LIMIT_BYTES = 64 * 1024


async def route(request: web.Request) -> web.Response:
    """POST /v1/route: the nodes that should answer, best first; `origin.web.front` has answered the simple ones."""
    query, _ = await read_message(request, RouteQuery, QUERY_LIMIT_BYTES)
    context = context_of(request)
    with _refusals_counted(context):
        unsigned = list_for(
            context,
            query,
            session=request.headers.get(SESSION_HEADER, ""),
            remote=remote_of(request),
            parameter=request.query.get(PLACE_PARAMETER),
            header=request.headers.get(PLACE_HEADER),
            # Whoever asks for a list goes to its nodes by itself, with the same header.
            client=caller_of(request).key_id or client_name(request.headers.get("Authorization", "")),
            caller=caller_of(request),
        )
    answer = with_tickets(context, [unsigned])[0]
    response = reply(request, answer)
    response.headers["Cache-Control"] = "no-store"
    request[NODE_NAMED] = answer.nodes[0].node_id
    return response


async def redirect(request: web.Request) -> web.Response:
    """POST /v1/chat/completions and its like: 307 to the node that should answer; method and body stay."""
    asked, body_bytes = await read_message(
        request, OpenAIRequest, context_of(request).config.body_limit_bytes
    )
    form = form_of(request.headers.get("Content-Type", ""))
    assert form is not None, "it was read in it"
    text, whole = prompt_beginning(asked, request.path, form)
    return _sent_on(
        request, asked.model, body_bytes=body_bytes, text=text, text_bytes=len(text) if whole else body_bytes
    )


async def redirect_model(request: web.Request) -> web.Response:
    """/v2/models/…: the same by the model that the URL names; the body may be bytes, and is not looked at."""
    name, version = request.match_info["name"], request.match_info.get("version")
    if version is not None and ("@" in name or ":" in name):
        raise InputInvalidError(
            f"{name[:200]!r} states a version or channel already, and the URL another", param="model"
        )
    return _sent_on(request, name if version is None else f"{name}@{version}")


@contextmanager
def _refusals_counted(context: Context) -> Iterator[None]:
    try:
        yield
    except ModelUnknownError:
        context.telemetry.decided("model_unknown")
        raise
    except NoNodeAvailableError:
        context.telemetry.decided("none_available")
        raise


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


def _sent_on(
    request: web.Request, model: str, *, body_bytes: int = 0, text: bytes = b"", text_bytes: int = 0
) -> web.Response:
    context = context_of(request)
    with _refusals_counted(context):
        headers, node_id = send_on(
            context,
            model,
            raw_path=request.rel_url.raw_path_qs,
            session=request.headers.get(SESSION_HEADER, ""),
            remote=remote_of(request),
            parameter=request.query.get(PLACE_PARAMETER),
            header=request.headers.get(PLACE_HEADER),
            caller=caller_of(request),
            body_bytes=body_bytes,
            text=text,
            text_bytes=text_bytes,
        )
    request[NODE_NAMED] = node_id
    return web.Response(status=307, headers=headers)
