"""Every URL of a node on one screen, and what surrounds each request: its id, its account, its errors."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from msgspec import UNSET, UnsetType

from edge_node.answer import Account, Answering
from edge_node.api.replies import Loading, error_body
from edge_node.cache.terms import request_terms
from edge_node.computing import Computing
from edge_node.errors import ModelNotReadyError
from edge_node.web import chunks, inference
from edge_node.web.caller import cache_headers, client_name, patience_s
from edge_node.web.catalog import list_models, show_model
from edge_node.web.chat import chat_completions
from edge_node.web.completions import completions
from edge_node.web.embeddings import embeddings
from edge_node.web.handing import carried_by, moved_instead
from edge_node.web.health import healthz, metrics, readyz
from edge_node.web.judging import classify, rerank
from edge_node.web.letting_in import PROXIED, caller_of, is_let_in, let_in, require_let_in
from edge_node.web.openapi import openapi
from edge_node.web.parts import (
    ANSWERING,
    COMPUTING,
    PARTS,
    Limits,
    NodeParts,
    exchange_of,
    has_exchange,
    open_exchange,
)
from edge_node.web.payload import arrived_body, read_body, respond
from edge_node.web.replay import REPLAYS, Replays, is_request_id
from edge_node.web.responses import responses
from registry.errors import EdgewardError
from registry.refusals import retry_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edge_node.api.replies import ErrorBody

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

__all__ = ["Limits", "NodeParts", "build_app"]

log = structlog.get_logger()

CLIENT_GONE = 499  # nginx's word for it; nobody is there to read it but the log and the metrics
_LARGE_BODY_BYTES = 16 * 1024
_ARRIVED = web.RequestKey("arrived", tuple[bytes, bytes | None])


def build_app(parts: NodeParts) -> web.Application:
    """A node's front as an application for any aiohttp runner."""
    app = web.Application(
        middlewares=[let_in, _replay, _account, _explain, _replay_arrived],
        handler_args={
            "auto_decompress": False,  # `payload` does it, within limits
            "handler_cancellation": True,  # a client that goes away ends its generation
            "access_log": None,  # the account is one line a request
            # Counted from the last response to the next whole head, so it ends those who send one slowly too.
            "keepalive_timeout": parts.limits.connection_idle_s,
        },
    )
    app[PARTS] = parts
    app[ANSWERING] = Answering(
        residents=parts.residents,
        scheduler=parts.scheduler,
        metrics=parts.metrics,
        cache=parts.cache,
        clock=parts.clock,
        wall_clock=parts.wall_clock,
    )
    app[COMPUTING] = Computing(
        residents=parts.residents,
        scheduler=parts.scheduler,
        metrics=parts.metrics,
        cache=parts.cache,
        clock=parts.clock,
        wall_clock=parts.wall_clock,
    )
    app[REPLAYS] = Replays(parts)
    chunks.prepare(app)
    app.on_response_prepare.append(_sign)
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat_completions),
            web.post("/v1/completions", completions),
            web.post("/v1/responses", responses),
            web.post("/v1/embeddings", embeddings),
            web.post("/v1/rerank", rerank),
            web.post("/v1/classify", classify),
            web.get("/v1/models", list_models),
            web.get("/v1/models/{id:.+}", show_model),
            web.get("/v1/chunks/have", chunks.have),
            web.get("/v1/chunks/{sha256}", chunks.chunk),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            web.get("/openapi.json", openapi),
            *inference.routes(),
        ]
    )
    return app


@web.middleware
async def _replay(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send a kept response, if the request came in one piece and there is one: nothing else costs less."""
    # With tracing on, every request has an account to be told of; so has one that is refused.
    if request.method == "POST" and request.app[PARTS].tracing is None and is_let_in(request):
        body = arrived_body(request, request.app[PARTS].limits.body_limit_bytes)
        if body is not None:
            replays = request.app[REPLAYS]
            key = replays.key(request, body)
            sent = await replays.send(request, key) if key is not None else None
            if sent is not None:
                return sent
            request[_ARRIVED] = (body, key)
    return await handler(request)


@web.middleware
async def _replay_arrived(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The same for a request that came in several pieces; and refuse a large one before it is read closely."""
    if request.method == "POST" and request.match_info.http_exception is None:
        exchange = exchange_of(request)
        if exchange.body is None:
            replays = request.app[REPLAYS]
            exchange.body_key = replays.key(request, await read_body(request))
            if exchange.body_key is not None:
                sent = await replays.send(request, exchange.body_key, exchange.account)
                if sent is not None:
                    return sent
        if exchange.body is not None and len(exchange.body) > _LARGE_BODY_BYTES:
            request.app[ANSWERING].refuse_if_full(exchange.account, len(exchange.body))
    return await handler(request)


@web.middleware
async def _account(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Open the request's account, and close it when the last byte is on its way."""
    parts = request.app[PARTS]
    resource = request.match_info.route.resource
    caller = caller_of(request)
    client = caller.key_id or client_name(request.headers)
    now_s = parts.clock()
    wait_s = patience_s(request.headers)
    account = Account(
        request_id=_request_id(request),
        answer_id=uuid.uuid4().hex,
        route=resource.canonical if resource is not None else "unknown",
        arrived_s=now_s,
        client=client,
        caller=caller,
        share=client or (request.remote or ""),
        carried=carried_by(request),
        traceparent=request.headers.get("traceparent", ""),
        terms=request_terms(request.headers.get("Cache-Control")),
        deadline_s=None if wait_s is None else now_s + wait_s,
    )
    exchange = open_exchange(request, account)
    exchange.body, exchange.body_key = request.get(_ARRIVED, (None, None))
    status = CLIENT_GONE
    try:
        response = await handler(request)
        status = response.status
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            account.response_bytes = len(response.body)
    except (asyncio.CancelledError, ConnectionResetError):
        account.error = "client.gone" if _is_gone(request) else "node.stopped"
        raise
    else:
        return response
    finally:
        wide = request.method == "POST" or status >= 400
        account.close(
            status=status, now_s=parts.clock(), metrics=parts.metrics, wide=wide, tracing=parts.tracing
        )


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make an OpenAI error of whatever goes wrong: a response, or the last event of a begun stream."""
    exchange = exchange_of(request)
    try:
        require_let_in(request)
        return await handler(request)
    except EdgewardError as error:
        moved = moved_instead(request, error) if exchange.stream is None else None
        if moved is not None:
            return moved
        status, headers = error.http_status, _retry_headers(error)
        body = error_body(
            error.message, code=error.code, http_status=status, param=error.param, loading=_loading(error)
        )
    except web.HTTPException as error:
        status, headers = error.status, _kept_headers(error)
        body = _http_error_body(request, error)
    except Exception as error:  # the one place where a bug becomes a status
        if isinstance(error, ConnectionResetError) and _is_gone(request):
            raise
        log.exception("request.failed", request_id=exchange.account.request_id)
        status, headers = 500, {"x-should-retry": "false"}
        body = error_body(
            "the node failed in a way that it did not expect; its log says more under this request id",
            code="internal",
            http_status=status,
        )
    exchange.account.error = body.error.code
    if exchange.stream is not None:
        exchange.account.status = status
        await exchange.stream.fail(body)
        return exchange.stream.response
    return respond(request, body, status=status, headers=headers)


async def _sign(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Say on every response which request it answers and which node does."""
    response.headers["Server"] = "edgeward"
    if isinstance(request, web.Request):
        parts = request.app[PARTS]
        response.headers["x-edgeward-node"] = parts.node_id
        if parts.last_answers():
            response.force_close()
            response.headers["Connection"] = "close"
        # The round trip to a proxy says nothing of the client's.
        if not any(name in request.headers for name in PROXIED):
            parts.rtts.look(request.transport, parts.clock())
    if not has_exchange(request):
        return
    exchange = exchange_of(request)
    account = exchange.account
    response.headers["x-request-id"] = account.request_id
    if isinstance(request, web.Request):
        now_s = parts.clock() if exchange.stream is None else None
        timing = account.server_timing(now_s)
        if timing:
            response.headers["Server-Timing"] = timing
    if account.cache is not None and response.status in {200, 304}:
        response.headers.update(cache_headers(account))


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _request_id(request: web.Request) -> str:
    sent = request.headers.get("x-request-id", "")
    return sent if is_request_id(sent) else f"req-{uuid.uuid4().hex}"


def _loading(error: EdgewardError) -> Loading | UnsetType:
    if not isinstance(error, ModelNotReadyError):
        return UNSET
    return Loading(
        state=error.state,
        eta_s=error.retry_after_s,
        done_bytes=error.done_bytes,
        total_bytes=error.total_bytes,
    )


def _retry_headers(error: EdgewardError) -> dict[str, str]:
    headers = retry_headers(error.retry_after_s)
    if error.retry == "never":
        headers["x-should-retry"] = "false"
    if error.http_status == 401:  # RFC 9110, 15.5.2
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _kept_headers(error: web.HTTPException) -> dict[str, str]:
    """What only the router knows: the methods that a URL has."""
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


def _http_error_body(request: web.Request, error: web.HTTPException) -> ErrorBody:
    if error.status == 404:
        message = f"this node has no URL {request.method} {request.path[:200]}"
        return error_body(message, code="url.unknown", http_status=404)
    if error.status == 405:
        message = f"{request.path[:200]} takes {error.headers.get('Allow', '')}, not {request.method}"
        return error_body(message, code="method.not_allowed", http_status=405)
    return error_body(error.reason, code="request.invalid", http_status=error.status)
