"""A stream of text: chunks out of frames or server-sent events, then pieces for the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import aiohttp
from msgspec import Struct, structs, to_builtins

from edge_node.api.stream_forms import FRAMES_TYPE, SSE_TYPE
from edge_node.client.answers import Piece, Served, Usage, Waiting
from edge_node.client.payload import error_in, inflater_for, reason_of
from edge_node.client.sse import SseParser
from edge_node.errors import AnswerInvalidError, NodeUnreachableError, StreamBrokenError
from registry.bodies import JSON_TYPE, MSGPACK_TYPE, decode
from registry.errors import EdgewardError, InputInvalidError
from registry.message_stream import MessageSplitter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from types import TracebackType

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
    model: str = ""
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


async def read_chunks(response: aiohttp.ClientResponse, limit_bytes: int) -> AsyncGenerator[Chunk]:
    """The chunks of a streamed answer, in whichever of the two forms the node chose.

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
        async for chunk in messages(response.content, inflater):
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


async def _frames(content: aiohttp.StreamReader, inflater: Inflater) -> AsyncGenerator[Chunk]:
    splitter = MessageSplitter(FRAME_LIMIT_BYTES)
    while data := await content.readany():
        try:
            messages = splitter.feed(inflater.feed(data))
        except InputInvalidError as error:
            raise AnswerInvalidError(f"the stream is not valid msgpack: {error.message}") from error
        for message in messages:
            yield read_chunk(message, MSGPACK_TYPE)


async def _events(content: aiohttp.StreamReader, inflater: Inflater) -> AsyncGenerator[Chunk]:
    parser = SseParser()
    while data := await content.readany():
        for event in parser.feed(inflater.feed(data)):
            if event.data == "[DONE]":
                return
            yield read_chunk(event.data.encode(), JSON_TYPE)


class OpenStream:
    """One node's stream, read up to its first piece; `served` knows all but the total time."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        chunks: AsyncGenerator[Chunk],
        first: Chunk | None,
        served: Served,
    ) -> None:
        self.response = response
        self.chunks = chunks
        self.first = first
        self.served = served


class TextStream:
    """An answer as it is written: an async iterator of pieces.

    Attributes:
        text: all text of the first choice so far.
        finish_reason: why the answer ended; None before it has.
        usage: tokens, once the stream has ended.
        on_waiting: called with how far it is while it waits for its first text.
    """

    def __init__(
        self,
        start: Callable[[Callable[[Waiting], None]], Awaitable[OpenStream]],
        now_s: Callable[[], float],
    ) -> None:
        self.text = ""
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.model = ""
        self.on_waiting: Callable[[Waiting], None] | None = None
        self._served: Served | None = None
        self._start = start
        self._now_s = now_s
        self._started_s = 0.0
        self._open: OpenStream | None = None
        self._pieces: AsyncGenerator[Piece] | None = None

    @property
    def served(self) -> Served:
        """Which node answers; its `total_ms` is 0 until the stream has ended.

        Raises:
            InputInvalidError: asked before the first piece, or after `open` failed.
        """
        if self._served is None:
            raise InputInvalidError("no node has begun to answer yet: read `served` after the first piece")
        return self._served

    async def open(self) -> None:
        """Connect and wait for the first piece; iterating does this by itself.

        Raises:
            EdgewardError: no node can answer.
        """
        if self._pieces is None:
            self._started_s = self._now_s()
            self._open = await self._start(self._tell)
            self._served = self._open.served
            self._pieces = self._read(self._open)

    def _tell(self, waiting: Waiting) -> None:
        if self.on_waiting is not None:
            self.on_waiting(waiting)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        await self.open()
        assert self._pieces is not None
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """Stop; the node stops writing, too."""
        if self._pieces is not None:
            await self._pieces.aclose()
        if self._open is not None:
            self._end(self._open)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _read(self, stream: OpenStream) -> AsyncGenerator[Piece]:
        chunk = stream.first
        try:
            while chunk is not None:
                for piece in self._pieces_of(chunk):
                    yield piece
                chunk = await anext(stream.chunks, None)
            if self.finish_reason is None:
                raise AnswerInvalidError("the stream ended before the answer did")
        except EdgewardError as error:
            # A break after the last word of the answer, before the end of the connection, takes nothing away.
            if self.finish_reason is None:
                raise StreamBrokenError(
                    f"the stream from node {stream.served.node_id} broke after {len(self.text)} characters: "
                    f"{error.message}",
                    text=self.text,
                ) from error
        finally:
            await stream.chunks.aclose()
            self._end(stream)

    def _pieces_of(self, chunk: Chunk) -> list[Piece]:
        self.usage = chunk.usage or self.usage
        self.model = chunk.model or self.model
        pieces: list[Piece] = []
        for choice in chunk.choices:
            text = (choice.text if choice.text is not None else choice.delta.content) or ""
            if choice.index == 0:
                self.text += text
            self.finish_reason = choice.finish_reason or self.finish_reason
            if text or choice.finish_reason:
                pieces.append(Piece(text=text, index=choice.index, finish_reason=choice.finish_reason))
        return pieces

    def _end(self, stream: OpenStream) -> None:
        if self._served is not None and self._served.total_ms == 0:
            self._served = structs.replace(self._served, total_ms=(self._now_s() - self._started_s) * 1000)
        # At its end the connection goes back to the pool by itself; an earlier close tells the node to stop.
        if not stream.response.closed:
            stream.response.close()
