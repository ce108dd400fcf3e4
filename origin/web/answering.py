"""Around every request: an id, errors turned into answers, one line of log, one sample of time."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from aiohttp.hdrs import METH_ALL

from origin.web.context import NODE_NAMED, NODE_SHOWN, context_of
from origin.web.enrolment import check_door
from origin.web.errors import broken_answer, error_answer, refused_by_http
from origin.web.letting_in import let_in, let_out
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

log = structlog.get_logger()

REQUEST_ID = "x-request-id"
_REQUEST_ID_KEY = web.RequestKey("request_id", str)
ALLOWED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET = (
    "/v1/nodes/{node_id}/report",
    "/healthz",
    "/readyz",
    "/metrics",
)  # every second, from every node and probe


@web.middleware
async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The only middleware of the origin."""
    context = context_of(request)
    started_s = context.now_s()
    stated = request.headers.get(REQUEST_ID, "")
    request_id = stated if ALLOWED_ID.fullmatch(stated) else secrets.token_hex(8)
    request[_REQUEST_ID_KEY] = request_id
    status, code = 499, "client.gone"  # nginx's number for a client that left
    try:
        try:
            request[NODE_SHOWN] = check_door(request)
            let_in(request)
            answer = await handler(request)
            code = ""
        except EdgewardError as error:
            answer, code = error_answer(error), error.code
        except web.HTTPException as error:
            answer, code = refused_by_http(error, request), "http"
        except ConnectionError:
            raise  # nobody is left to answer
        except Exception:  # the one place that turns a defect into an answer
            log.exception("request.broke", request_id=request_id, method=request.method, path=request.path)
            answer, code = broken_answer(request_id), "internal"
        status = answer.status
        return answer
    finally:
        let_out(request)
        resource = request.match_info.route.resource
        url = resource.canonical if resource is not None else "unknown"
        method = request.method if request.method in METH_ALL else "other"  # a client can send any word
        duration_s = context.now_s() - started_s
        context.telemetry.requests.labels(method, url, str(status)).observe(duration_s)
        if context.spans is not None and url not in _QUIET:
            context.spans.answered(
                request.headers.get("traceparent", ""), method=method, url=url, begun_s=started_s, status=status,
                code=code, node_id=request.get(NODE_NAMED, ""), request_id=request_id,
            )  # fmt: skip
        write = log.debug if url in _QUIET and status < 400 else log.info
        write(
            "request.answered",
            request_id=request_id,
            method=request.method,
            path=request.path,
            status=status,
            code=code,
            duration_ms=round(duration_s * 1000, 1),
            client=request.remote,
        )


async def mark_with_id(request: web.Request, answer: web.StreamResponse) -> None:
    """Signal before the headers go out: every answer names its request, and the server without its versions."""
    answer.headers["Server"] = "edgeward"
    request_id = request.get(_REQUEST_ID_KEY)
    if request_id is not None:
        answer.headers[REQUEST_ID] = request_id
