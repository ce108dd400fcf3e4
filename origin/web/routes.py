"""Routing over HTTP: the ranked list for clients that ask, the redirect for those that do not."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from origin.api import RouteQuery
from origin.errors import ModelUnknownError, NoNodeAvailableError
from origin.geo.choose import Ask, parse_model
from origin.geo.places import PLACE_HEADER, PLACE_PARAMETER, client_place
from origin.prefixes import client_name, marks_of
from origin.tickets import TICKET_PARAMETER, without_ticket
from origin.web.context import NODE_NAMED, context_of, remote_of
from origin.web.deciding import BYTES_PER_TOKEN, decide, list_for, sign
from origin.web.letting_in import caller_of
from origin.web.payload import read_message, reply
from origin.web.prompts import OpenAIRequest, prompt_beginning
from registry.bodies import form_of
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from origin.web.context import Context

SESSION_HEADER = "x-edgeward-session"
NODE_HEADER = "x-edgeward-node"
RTT_HEADER = "x-edgeward-rtt-ms"
QUERY_LIMIT_BYTES = 64 * 1024


async def route(request: web.Request) -> web.Response:
    """POST /v1/route: the nodes that should answer, best first; `origin.web.front` has answered the simple ones."""
    query, _ = await read_message(request, RouteQuery, QUERY_LIMIT_BYTES)
    context = context_of(request)
    with _refusals_counted(context):
        answer = list_for(
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
    stated, _ = client_place(None, request.query.get(PLACE_PARAMETER), request.headers.get(PLACE_HEADER))
    spot = context.whereabouts.spot(remote_of(request), context.now_s(), stated)
    reference, bare = parse_model(model)
    caller = caller_of(request)
    caller.check_model(reference.name)
    # Whoever follows this leaves its `Authorization` behind: the node knows it by the key in the ticket, or not at all.
    marks = marks_of(text, salt=context.mark_salt(), client=caller.key_id, model=reference.name)
    ask = Ask(
        reference,
        any_channel=bare,
        spot=spot,
        prompt_tokens=body_bytes // BYTES_PER_TOKEN,
        prompt_bytes=text_bytes,
        marks=marks.own,
        shared_marks=marks.everybody,
        session=request.headers.get(SESSION_HEADER) or remote_of(request),
    )
    with _refusals_counted(context):
        decision = decide(context, ask)
    best = decision.nodes[0]
    request[NODE_NAMED] = best.node_id
    ticket = sign(context, model, decision, caller)
    path = without_ticket(request.rel_url.raw_path_qs)
    joint = "&" if "?" in path else "?"
    headers = {
        # In the URL, since clients take no header of an answer along, and drop their key on the way to another host.
        "Location": f"{best.url.rstrip('/')}{path}{joint}{TICKET_PARAMETER}={ticket}",
        "Cache-Control": "no-store",
        NODE_HEADER: best.node_id,
    }
    if spot.place is not None:
        headers[RTT_HEADER] = f"{best.rtt_ms:.1f}"
    return web.Response(status=307, headers=headers)
