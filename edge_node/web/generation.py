"""A request for text as an HTTP response, whole or streamed, in any of OpenAI's dialects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edge_node.api.logprobs import mean_logprob
from edge_node.api.replies import usage
from edge_node.api.shapes import Answer, Heading
from edge_node.engines import Delta, Finished, Started, TokenScore
from edge_node.web.chorus import Chorus
from edge_node.web.marks import Marks
from edge_node.web.parts import ANSWERING, PARTS, exchange_of
from edge_node.web.payload import respond
from edge_node.web.stream import ChunkStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from edge_node.answer import Ability
    from edge_node.api.replies import Usage
    from edge_node.api.shapes import Shape
    from edge_node.engines import FinishReason as EngineReason
    from edge_node.web.commands import Work


@dataclass(slots=True)
class _Told:
    """What one generation has said."""

    texts: list[str] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    reason: EngineReason = "cancelled"


async def deliver(
    request: web.Request,
    *,
    model: str,
    ability: Ability,
    work: Work,
    streams: bool,
    dialect: Callable[[Heading], Shape],
) -> web.StreamResponse:
    """Answer a request for text.

    Raises:
        EdgewardError: refused or failed; when the stream has begun, the exchange holds it.
    """
    account = exchange_of(request).account
    async with Chorus(
        request.app[ANSWERING],
        account,
        model,
        ability,
        work.commands,
        per_prompt_count=work.per_prompt_count,
    ) as chorus:
        heading = Heading(
            id=work.cut.id if work.cut else chorus.first.answer_id,
            created=work.cut.created if work.cut else chorus.first.created_unix_s,
            model=chorus.first.release,
            system_fingerprint=chorus.first.fingerprint,
        )
        shape = dialect(heading)
        if streams:
            return await _streamed(request, chorus, shape, work)
        return await _whole(request, chorus, shape, work)


async def _whole(request: web.Request, chorus: Chorus, shape: Shape, work: Work) -> web.Response:
    told = [_Told() for _ in work.commands]
    open_count = len(told)
    while open_count:
        heard = await chorus.next_event()
        assert heard is not None, "it waits without end"
        index, event = heard
        if isinstance(event, Delta):
            told[index].texts.append(event.text)
            told[index].scores.extend(event.scores)
        elif isinstance(event, Finished):
            told[index].reason = event.reason
            open_count -= 1
    answers = _best(told, work)
    chorus.add_up()
    answer = shape.whole(answers, _usage(chorus))
    return respond(request, answer, headers=_headers(chorus))


async def _streamed(request: web.Request, chorus: Chorus, shape: Shape, work: Work) -> web.StreamResponse:
    limits = request.app[PARTS].limits
    open_count = len(work.commands)
    marks = None
    if work.resumable:
        command = work.commands[0]
        identity = chorus.first.identity(deterministic=command.deterministic)
        marks = Marks(shape, command.resume, identity, silence_s=limits.keep_alive_s)
    stream = ChunkStream(request)
    # Until the prompt is read the request can still be refused with its proper status.
    heard = await chorus.first_event(limits.stream_patience_s)
    chorus.add_up()
    await stream.open(_headers(chorus))
    while True:
        if heard is None:
            await stream.live(*chorus.first.standing())
        else:
            index, event = heard
            if isinstance(event, Started):
                events = shape.opening(index) if marks is None else marks.opening(event)
            elif isinstance(event, Delta):
                events = shape.delta(index, event.text, event.scores) if marks is None else marks.delta(event)
            else:
                reason = _reason(event.reason)
                events = shape.closing(index, reason) if marks is None else marks.closing(reason)
                open_count -= 1
            for each in events:
                await stream.send(each.chunk, each.name)
            if not open_count:
                break
        heard = await chorus.next_event(limits.keep_alive_s, tells_progress=True)
    chorus.add_up()
    for each in shape.ending(_usage(chorus)):
        await stream.send(each.chunk, each.name)
    await stream.finish(done=shape.ends_with_done)
    return stream.response


def _best(told: list[_Told], work: Work) -> list[Answer]:
    """The answers of each prompt; with `best_of` the most probable of them per token, the best first."""
    chosen: list[_Told] = []
    for at in range(0, len(told), work.per_prompt_count):
        group = told[at : at + work.per_prompt_count]
        if work.answers_count < len(group):
            group = sorted(group, key=lambda each: mean_logprob(each.scores), reverse=True)[
                : work.answers_count
            ]
        chosen.extend(group)
    return [Answer("".join(each.texts), each.scores, _reason(each.reason)) for each in chosen]


def _headers(chorus: Chorus) -> dict[str, str]:
    return {"x-edgeward-release": chorus.first.release}


def _usage(chorus: Chorus) -> Usage:
    prompt_tokens, completion_tokens, cached_tokens = chorus.usage_tokens()
    return usage(
        prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, cached_tokens=cached_tokens
    )


def _reason(reason: EngineReason) -> Literal["stop", "length"]:
    assert reason != "cancelled"  # `Generation` has made an error of it
    return reason
