"""Sending on: the node that should answer a request, and the headers of the 307 that sends its client there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.gate import ANYBODY
from origin.geo.choose import Ask, parse_model
from origin.geo.places import client_place
from origin.prefixes import marks_of
from origin.tickets import TICKET_PARAMETER, without_ticket
from origin.web.deciding import BYTES_PER_TOKEN, decide, sign, ticket_of

if TYPE_CHECKING:
    from origin.api import RankedNode
    from origin.gate import Caller
    from origin.web.context import Context

NODE_HEADER = "x-edgeward-node"
RTT_HEADER = "x-edgeward-rtt-ms"


def send_on(
    context: Context,
    model: str,
    *,
    raw_path: str,
    session: str,
    remote: str,
    parameter: str | None = None,
    header: str | None = None,
    caller: Caller = ANYBODY,
    body_bytes: int = 0,
    text: bytes = b"",
    text_bytes: int = 0,
) -> tuple[dict[str, str], str]:
    """The headers of the redirect, and the id of the node that it leads to.

    Args:
        context: the origin's parts.
        model: as the request names it.
        raw_path: path and query of the request, which stay but for a ticket.
        session: what the client calls it; empty lets its address stand for it.
        remote: its address.
        parameter: its place as the URL states it.
        header: its place as a header states it.
        caller: by whose key it came in.
        body_bytes: the length of the request.
        text: the beginning of its prompt.
        text_bytes: the length of the whole prompt, as far as it is known.

    Raises:
        InputInvalidError: not a model's name, or not a place.
        ModelOutOfScopeError: the key may not ask this model.
        ModelUnknownError, NoNodeAvailableError: as `decide`.
    """
    stated, _ = client_place(None, parameter, header)
    spot = context.whereabouts.spot(remote, context.now_s(), stated)
    reference, bare = parse_model(model)
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
        session=session or remote,
    )
    decision = decide(context, ask)
    ticket = sign(context, [ticket_of(context, model, decision, caller)])[0]
    return _headers(decision.nodes[0], raw_path, ticket, placed=spot.place is not None), decision.nodes[
        0
    ].node_id


def _headers(best: RankedNode, raw_path: str, ticket: str, *, placed: bool) -> dict[str, str]:
    path = without_ticket(raw_path)
    joint = "&" if "?" in path else "?"
    headers = {
        # In the URL, since clients take no header of an answer along, and drop their key on the way to another host.
        "Location": f"{best.url.rstrip('/')}{path}{joint}{TICKET_PARAMETER}={ticket}",
        "Cache-Control": "no-store",
        NODE_HEADER: best.node_id,
    }
    if placed:
        headers[RTT_HEADER] = f"{best.rtt_ms:.1f}"
    return headers
