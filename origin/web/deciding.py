"""From a question to a signed, ranked list: what all HTTP doors share, whatever form the request came in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog
from msgspec.structs import replace

from origin.api import RouteAnswer
from origin.gate import ANYBODY
from origin.geo.choose import Ask, choose, parse_model
from origin.geo.explaining import EXPLAINED_LIMIT_COUNT, left_out
from origin.geo.places import client_place
from origin.prefixes import Mark, Marks, marks_of
from origin.prompt_text import turns_text
from origin.tickets import LIFE_LIMIT_S, Ticket, stops_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from origin.api import LeftOut, Peer, RouteQuery
    from origin.gate import Caller
    from origin.geo.choose import Decision
    from origin.geo.client_spot import ClientSpot
    from origin.web.context import Context
    from registry.reference import Reference

log = structlog.get_logger()

BYTES_PER_TOKEN = 4
"""English text in common vocabularies; only the order of candidates depends on it."""
_NO_MARKS = Marks()


class Unsigned(NamedTuple):
    """An answer, and what is to be signed for it."""

    answer: RouteAnswer
    ticket: Ticket


def list_for(
    context: Context,
    query: RouteQuery,
    *,
    session: str,
    remote: str,
    parameter: str | None = None,
    header: str | None = None,
    client: str = "",
    caller: Caller = ANYBODY,
) -> Unsigned:
    """The answer to `POST /v1/route`, but for its ticket, which is to be signed (`with_tickets`).

    Args:
        context: the origin's parts.
        query: the question.
        session: what the client calls it; empty lets its address stand for it: its prompts tend to be alike.
        remote: its address.
        parameter: its place as the URL states it.
        header: its place as a header states it.
        client: the name under which nodes keep its prompts.
        caller: by whose key it came in.

    Raises:
        InputInvalidError: not a model's name, or not a place.
        ModelOutOfScopeError: the key may not ask this model.
        ModelUnknownError, NoNodeAvailableError: as `decide`.
    """
    stated, _ = client_place(query.place, parameter, header)
    spot = context.whereabouts.spot(remote, context.now_s(), stated)
    # Without a stated session a client's address stands for it: its requests tend to share a prefix.
    ask = _ask(context, query, spot, session=session or remote, client=client)
    caller.check_model(ask.reference.name)
    if not query.explains:
        for node_id in query.exclude:  # they have just failed this client
            context.fleet.note_failed(node_id, spot.prefix or remote, context.now_s())
    decision = decide(context, ask, notes=not query.explains)
    answer = RouteAnswer(
        model=query.model,
        nodes=decision.nodes,
        ttl_s=context.config.route_ttl_s,
        place=spot.place,
        place_source=spot.place_source,
        probes=_probes(context, ask.reference, spot),
        expires_unix_s=context.now_unix_s() + context.config.route_ttl_s,
        reason=decision.reason,
        left_out=_left_out(context, ask, decision) if query.explains else (),
        space_id=decision.space_id,
    )
    return Unsigned(answer, ticket_of(context, query.model, decision, caller))


def _ask(context: Context, query: RouteQuery, spot: ClientSpot, *, session: str, client: str) -> Ask:
    reference, bare = parse_model(query.model)
    text = turns_text(query.turns)
    marks = (
        Marks(tuple(Mark(number, end_bytes) for number, end_bytes in query.marks))
        if query.marks
        else _NO_MARKS
    )
    if text and not marks.own:
        marks = marks_of(text, salt=context.mark_salt(), client=client, model=reference.name)
    return Ask(
        reference,
        any_channel=bare,
        spot=spot,
        prompt_tokens=query.prompt_tokens or len(text) // BYTES_PER_TOKEN,
        prompt_bytes=query.prompt_bytes or len(text),
        marks=marks.own,
        shared_marks=marks.everybody,
        session=session,
        limit=EXPLAINED_LIMIT_COUNT if query.explains else query.limit,
        exclude=frozenset(query.exclude),
    )


def _probes(context: Context, reference: Reference, spot: ClientSpot) -> tuple[Peer, ...]:
    # Of the pool that was chosen from, which is up to date by now.
    channel = None if reference.version is not None else reference.channel
    pool = context.fleet.pool(reference.name, channel)
    if not pool.seats:
        pool = context.fleet.pool(reference.name, None)
    pool.settle()
    return context.whereabouts.probe_lists.peers(pool, spot, context.now_s())


def _left_out(context: Context, ask: Ask, decision: Decision) -> tuple[LeftOut, ...]:
    listed = {node.node_id for node in decision.nodes}
    return left_out(context.fleet.view(context.now_s()), ask, listed)


def decide(context: Context, ask: Ask, *, notes: bool = True) -> Decision:
    """The nodes for a request that is about to be sent; with `notes` it counts as sent to the first of them.

    Raises:
        ModelUnknownError: no release and no node has this model.
        NoNodeAvailableError: it exists, and no node can answer now.
    """
    now_s = context.now_s()
    decision = choose(
        context.fleet.view(now_s),
        ask,
        context.releases.view,
        network=context.whereabouts.network,
        chance=context.chance(),
    )
    if not notes:
        return decision
    best = decision.nodes[0]
    context.telemetry.decided(decision.reason)
    context.fleet.note_routed(
        best.node_id, (ask.reference.name, best.version), now_s, travel_s=best.rtt_ms / 1000
    )
    log.debug(
        "request.routed",
        model=str(ask.reference),
        node_id=best.node_id,
        reason=decision.reason,
        score_s=best.score_s,
        distance_km=best.distance_km,
    )
    return decision


def ticket_of(context: Context, model: str, decision: Decision, caller: Caller = ANYBODY) -> Ticket:
    """The decision's list, so that its nodes may hand the request on, and let it in for its caller's key."""
    life_s = min(context.config.route_ttl_s, LIFE_LIMIT_S)
    return Ticket(model, stops_of(decision.nodes), context.now_unix_s() + life_s, caller.key_id)


def sign(context: Context, tickets: Sequence[Ticket]) -> list[str]:
    """The texts of some tickets, at most `SIGNED_LIMIT_COUNT`: the more at once, the less each of them costs."""
    return context.route_keys.sign(tickets, context.now_s())


def with_tickets(context: Context, lists: Sequence[Unsigned]) -> list[RouteAnswer]:
    """Answers with their tickets, as many as `sign` takes."""
    texts = sign(context, [each.ticket for each in lists])
    return [replace(each.answer, ticket=text) for each, text in zip(lists, texts, strict=True)]
