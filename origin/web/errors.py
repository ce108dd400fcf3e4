"""Errors as answers: the OpenAI error object, its status and when to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from registry.bodies import JSON_TYPE
from registry.refusals import retry_headers
from registry.wire import to_json

if TYPE_CHECKING:
    from registry.errors import EdgewardError

_CODES = {
    404: "url.unknown",
    405: "url.method_not_allowed",
    413: "origin.body_too_large",
    417: "url.expectation_failed",
}


def error_answer(error: EdgewardError) -> web.Response:
    """The answer for a refusal that Edgeward describes itself."""
    answer = _answer(error.http_status, error.message, error.param, error.code)
    answer.headers.update(retry_headers(error.retry_after_s))
    if error.http_status == 401:  # RFC 9110, 15.5.2
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def refused_by_http(error: web.HTTPException, request: web.Request) -> web.Response:
    """The answer for what aiohttp refuses before any of our code sees it: an unknown URL, a wrong method."""
    message = {
        404: f"there is nothing at {request.method} {request.path[:200]}",
        405: f"{request.path[:200]} does not take {request.method}",
    }.get(error.status, error.reason)
    answer = _answer(error.status, message, None, _CODES.get(error.status, "http.refused"))
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


def broken_answer(request_id: str) -> web.Response:
    """The answer for a defect: it names the line of the log, not the cause."""
    message = f"the origin failed on this request; its log has the cause under request id {request_id}"
    return _answer(500, message, None, "internal")


def _answer(status: int, message: str, param: str | None, code: str) -> web.Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return web.Response(
        status=status, body=to_json(body), content_type=JSON_TYPE, headers={"Cache-Control": "no-store"}
    )
