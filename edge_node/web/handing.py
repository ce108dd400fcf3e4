"""A request's ticket in, and the redirect of a request that is handed on out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from edge_node.offers import Carried
from edge_node.web.parts import PARTS, exchange_of
from origin.tickets import TEXT_LIMIT, TICKET_HEADER, TICKET_PARAMETER, ticket_in, without_ticket

if TYPE_CHECKING:
    from registry.errors import EdgewardError

HANDED_ON_HEADER = "x-edgeward-handed-on"


def carried_by(request: web.Request) -> Carried | None:
    """The ticket that a request carries, in its URL or a header; None without one."""
    desk = request.app[PARTS].desk
    # Each hop writes its URL anew, while the header is still the client's first.
    text = ticket_in(request.raw_path) or request.headers.get(TICKET_HEADER, "")
    return Carried(desk, text) if desk is not None and 0 < len(text) <= TEXT_LIMIT else None


def moved_instead(request: web.Request, error: EdgewardError) -> web.Response | None:
    """307 to the node that answers instead of this refusal; None when the refusal stands."""
    account = exchange_of(request).account
    moved = account.carried.instead_of(error, account.asked) if account.carried is not None else None
    if moved is None:
        return None
    account.error = moved.code
    path = without_ticket(request.rel_url.raw_path_qs)
    joint = "&" if "?" in path else "?"
    return web.Response(
        status=307,
        headers={
            "Location": f"{moved.url.rstrip('/')}{path}{joint}{TICKET_PARAMETER}={moved.ticket}",
            "Cache-Control": "no-store",
            HANDED_ON_HEADER: moved.why,
        },
    )
