"""A generation as an HTTP response, whole or streamed, in either of OpenAI's dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.replies import usage
from edge_node.api.shapes import Heading
from edge_node.engines import Delta, Finished, Started
from edge_node.web.parts import ANSWERING, PARTS, exchange_of
from edge_node.web.payload import respond
from edge_node.web.stream import ChunkStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from edge_node.answer import Ability, Account, Generation
    from edge_node.api.replies import FinishReason, Usage
    from edge_node.api.requests import GenerationRequest
    from edge_node.api.shapes import Shape
    from edge_node.engines import Generate


async def deliver(
    request: web.Request,
    asked: GenerationRequest,
    ability: Ability,
    command: Generate,
    dialect: Callable[[Heading, bool], Shape],
) -> web.StreamResponse:
    """Answer a request for text.

    Raises:
        EdgewardError: refused or failed; when the stream has begun, the exchange holds it.
    """
    account = exchange_of(request).account
    counted = bool(asked.stream_options and asked.stream_options.include_usage)
    async with request.app[ANSWERING].generate(account, asked.model, ability, command) as generation:
        heading = Heading(
            id=generation.answer_id,
            created=generation.created_unix_s,
            model=generation.release,
            system_fingerprint=generation.fingerprint,
        )
        shape = dialect(heading, counted)
        if asked.stream:
            return await _streamed(request, generation, shape, counted=counted)
        return await _whole(request, generation, shape)


async def _whole(request: web.Request, generation: Generation, shape: Shape) -> web.Response:
    texts: list[str] = []
    while True:
        event = await generation.next_event()
        if isinstance(event, Delta):
            texts.append(event.text)
        elif isinstance(event, Finished):
            break
    account = exchange_of(request).account
    answer = shape.whole("".join(texts), _reason(event), _usage(account))
    return respond(request, answer, headers=_headers(generation))


async def _streamed(
    request: web.Request, generation: Generation, shape: Shape, *, counted: bool
) -> web.StreamResponse:
    limits = request.app[PARTS].limits
    account = exchange_of(request).account
    stream = ChunkStream(request)
    # Until the prompt is read the request can still be refused with its proper status.
    event = await generation.first_event(limits.stream_patience_s)
    await stream.open(_headers(generation))
    while not isinstance(event, Finished):
        if event is None:
            await stream.live(*generation.standing())
        elif isinstance(event, Started):
            opening = shape.opening()
            if opening is not None:
                await stream.send(opening)
        elif event.text:
            await stream.send(shape.delta(event.text))
        event = await generation.next_event(limits.keep_alive_s, tells_progress=True)
    await stream.send(shape.closing(_reason(event)))
    if counted:
        await stream.send(shape.counted(_usage(account)))
    await stream.finish()
    return stream.response


def _headers(generation: Generation) -> dict[str, str]:
    return {"x-edgeward-release": generation.release}


def _usage(account: Account) -> Usage:
    return usage(
        prompt_tokens=account.prompt_tokens,
        completion_tokens=account.completion_tokens,
        cached_tokens=account.cached_tokens,
    )


def _reason(event: Finished) -> FinishReason:
    assert event.reason != "cancelled"  # `Generation` has made an error of it
    return event.reason
