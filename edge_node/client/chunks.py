"""The chunks of a streamed answer, out of frames or server-sent events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from msgspec import Struct, to_builtins

from edge_node.api.mark import Mark
from edge_node.api.stream_forms import FRAMES_TYPE, SSE_TYPE
from edge_node.client.answers import Usage, Waiting
from edge_node.client.payload import error_in, inflater_for, reason_of
from edge_node.client.sse import SseParser
from edge_node.errors import AnswerInvalidError, NodeUnreachableError
from registry.bodies import JSON_TYPE, MSGPACK_TYPE, decode
from registry.errors import InputInvalidError
from registry.message_stream import MessageSplitter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from registry.bodies import Form, Inflater

FRAME_LIMIT_BYTES = 8 * 2**20


class _Delta(Struct, frozen=True):
    content: str | None = None


class _Choice(Struct, frozen=True):
    index: int = 0
    delta: _Delta = _Delta()
    text: str | None = None
    finish_reason: str | None = None


class _Failure(Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    param: str | None = None
    retry_after_s: float | None = None


class Chunk(Struct, frozen=True):
    """What is read of an OpenAI chunk, of a chat or of a completion; `error` instead of the rest ends the stream."""

    choices: tuple[_Choice, ...] = ()
    usage: Usage | None = None
    id: str = ""
    created: int = 0
    model: str = ""
    edgeward: Mark | None = None
    error: str | _Failure | None = None
    object: str = ""
    state: str = ""
    place: float | None = None
    percent: float | None = None
    eta_s: float | None = None

    def waiting(self) -> Waiting | None:
        """How far the answer is, if this chunk says only that."""
        if self.object != "edgeward.alive" or self.state == "answering":
            return None
        return Waiting(
            state=self.state,
            place=None if self.place is None else int(self.place),
            percent=None if self.percent is None else int(self.percent),
            eta_s=self.eta_s,
        )

    def says(self) -> bool:
        """Whether there is text in it, or the end of a choice."""
        return any(choice.text or choice.delta.content or choice.finish_reason for choice in self.choices)


@dataclass(slots=True)
class Patience:
    """How long a stream may be silent; None leaves it to the connection's own limit."""

    silence_s: float | None = None


async def read_chunks(
    response: aiohttp.ClientResponse, limit_bytes: int, patience: Patience
) -> AsyncGenerator[Chunk]:
    """The chunks of a streamed answer, in whichever of the two forms the node chose.

    `patience` may be changed while they are read.

    Raises:
        AnswerInvalidError: not a stream, or not valid.
        NodeUnreachableError: the connection broke or fell silent.
        EdgewardError: the error that the node put into the stream.
    """
    messages = _frames if response.content_type == FRAMES_TYPE else _events
    if response.content_type not in {FRAMES_TYPE, SSE_TYPE}:
        raise AnswerInvalidError(
            f"the answer has the content type {response.content_type!r} and is not a stream"
        )
    inflater = inflater_for(response.headers.get("content-encoding", ""), limit_bytes)
    try:
        async for chunk in messages(response.content, inflater, patience):
            error = error_in({"error": to_builtins(chunk.error)}, 500, {})
            if error is not None:
                raise error
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise NodeUnreachableError(f"the connection broke off: {reason_of(error)}") from error


def read_chunk(message: bytes, form: Form) -> Chunk:
    """One chunk of a stream; what nobody asks for is passed over without being made.

    Raises:
        AnswerInvalidError: not a chunk.
    """
    try:
        return decode(message, form, Chunk)
    except InputInvalidError as error:
        raise AnswerInvalidError(f"a chunk of the stream cannot be read: {error.message}") from error


async def _frames(
    content: aiohttp.StreamReader, inflater: Inflater, patience: Patience
) -> AsyncGenerator[Chunk]:
    splitter = MessageSplitter(FRAME_LIMIT_BYTES)
    while data := await _more(content, patience):
        try:
            messages = splitter.feed(inflater.feed(data))
        except InputInvalidError as error:
            raise AnswerInvalidError(f"the stream is not valid msgpack: {error.message}") from error
        for message in messages:
            yield read_chunk(message, MSGPACK_TYPE)


async def _events(
    content: aiohttp.StreamReader, inflater: Inflater, patience: Patience
) -> AsyncGenerator[Chunk]:
    parser = SseParser()
    while data := await _more(content, patience):
        for event in parser.feed(inflater.feed(data)):
            if event.data == "[DONE]":
                return
            yield read_chunk(event.data.encode(), JSON_TYPE)


async def _more(content: aiohttp.StreamReader, patience: Patience) -> bytes:
    async with asyncio.timeout(patience.silence_s):
        return await content.readany()
