"""Opening a stream at one node, and what is told of who answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_node.api.stream_forms import FRAMES_TYPE, SSE_TYPE
from edge_node.client.answers import Served
from edge_node.client.chunks import Chunk, Patience, read_chunks
from edge_node.client.stream import OpenStream
from edge_node.errors import AnswerInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from edge_node.client.answers import Waiting
    from edge_node.client.call import Call
    from edge_node.client.resumption import Resumption
    from edge_node.client.session import Session
    from origin.api import RankedNode


async def open_stream(
    session: Session,
    path: str,
    message: dict[str, Any],
    tell: Callable[[Waiting], None],
    resumption: Resumption | None,
    call: Call,
    node: RankedNode,
) -> OpenStream:
    """One node's stream up to its first text: until then another node can still take over unseen.

    Raises:
        AnswerInvalidError: the stream ends before; or it should be the rest of an answer, and is not.
        EdgewardError: as `Session.post` and `read_chunks` say.
    """
    accept = f"{FRAMES_TYPE}, {SSE_TYPE};q=0.5"
    async with session.post(node, path, message, accept, call=call) as response:
        patience, read, begun = Patience(), list[Chunk](), False
        chunks = read_chunks(response, session.answer_limit_bytes, patience)
        async for chunk in chunks:
            waiting = chunk.waiting()
            if waiting is not None:
                tell(waiting)
            elif resumption is not None and chunk.choices and not begun:
                resumption.check(chunk.edgeward)
                begun = True
            read.append(chunk)
            if chunk.says():
                served = served_by(call, node, response, session.now_s())
                rest = session.watched(call, node, chunks, response.close)
                at = call.journey.node_id if call.journey else node.node_id
                return OpenStream(
                    response, rest, read, patience, served, frozenset(filter(None, (served.node_id, at)))
                )
        raise AnswerInvalidError("the stream ended before its first text")


def served_by(
    call: Call, node: RankedNode, response: aiohttp.ClientResponse, first_s: float, *, total_s: float = 0.0
) -> Served:
    """Who answers this attempt, once its first text (or byte) is there at `first_s`."""
    # A node may send a request on to another one, which then names itself.
    node_id = response.headers.get("x-edgeward-node", node.node_id)
    same = node_id == node.node_id
    return Served(
        node_id=node_id,
        url=node.url if same else str(response.url.origin()),
        label=node.label if same else "",
        release=response.headers.get("x-edgeward-release", ""),
        distance_km=node.distance_km if same else None,
        rtt_ms=node.rtt_ms,
        ttft_ms=(first_s - call.started_s) * 1000,
        total_ms=total_s * 1000,
        attempts=call.attempts_count,
        refusals=tuple(call.refusals),
        handed_on=call.handed_on_count,
        hedged=call.hedged,
        nodes=(node_id,),
        cache=response.headers.get("x-edgeward-cache", ""),
    )
