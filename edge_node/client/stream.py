"""A stream of text: pieces for the caller, from one node after the other if need be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from msgspec import structs

from edge_node.client.answers import Piece, Served, Usage, Waiting
from edge_node.client.resumption import RESUMES_MOST_COUNT, Resumption
from edge_node.errors import AnswerInvalidError, StreamBrokenError
from origin.errors import NoNodeAvailableError
from registry.errors import EdgewardError, InputInvalidError, UnpackLimitError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection
    from types import TracebackType

    import aiohttp

    from edge_node.client.chunks import Chunk, Patience
    from edge_node.client.spans import CallSpan


class OpenStream:
    """One node's stream, read up to its first piece; `served` knows all but the total time.

    Attributes:
        read: the chunks up to that piece, in order.
        patience: how long it may be silent.
        node_ids: what the node calls itself, and what the origin calls it.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        chunks: AsyncGenerator[Chunk],
        read: list[Chunk],
        patience: Patience,
        served: Served,
        node_ids: frozenset[str],
    ) -> None:
        self.response = response
        self.read = read
        self.patience = patience
        self.served = served
        self.node_ids = node_ids
        self._chunks = chunks
        self._given_count = 0

    async def next_chunk(self) -> Chunk | None:
        """The next chunk, or None at the end. Raises as `read_chunks` does."""
        if self._given_count < len(self.read):
            self._given_count += 1
            return self.read[self._given_count - 1]
        return await anext(self._chunks, None)

    async def close(self) -> None:
        """Read no more; a node that is still writing stops."""
        await self._chunks.aclose()
        # At its end the connection goes back to the pool by itself.
        if not self.response.closed:
            self.response.close()


class Opens(Protocol):
    """What finds a node and opens its stream."""

    async def __call__(
        self,
        tell: Callable[[Waiting], None],
        resumption: Resumption | None = None,
        avoid: Collection[str] = (),
    ) -> OpenStream:
        """The whole answer, or with `resumption` the rest of one; nodes to avoid are not asked.

        Raises:
            EdgewardError: no node can answer.
        """


class TextStream:
    """An answer as it is written: an async iterator of pieces.

    Attributes:
        text: all text of the first choice so far.
        finish_reason: why the answer ended; None before it has.
        usage: tokens, once the stream has ended.
        on_waiting: called with how far it is while it waits for its first text.
    """

    def __init__(self, start: Opens, now_s: Callable[[], float], span: CallSpan) -> None:
        self.text = ""
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.model = ""
        self.on_waiting: Callable[[Waiting], None] | None = None
        self._served: Served | None = None
        self._start = start
        self._now_s = now_s
        self._span = span
        self._started_s = 0.0
        self._open: OpenStream | None = None
        self._pieces: AsyncGenerator[Piece] | None = None
        self._resumption = Resumption()
        self._held: list[Chunk] = []
        self._broke_ids: frozenset[str] = frozenset()

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
            try:
                self._open = await self._start(self._tell)
            except BaseException as error:
                self._span.failed(error)
                self._span.end()
                raise
            self._served = self._open.served
            self._pieces = self._read()

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
        await self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _read(self) -> AsyncGenerator[Piece]:
        try:
            while True:
                try:
                    chunk = await self._next_chunk()
                except EdgewardError as error:
                    # A break after the last word of the answer takes nothing away.
                    if self.finish_reason is not None:
                        return
                    await self._go_on(error)
                    continue
                if chunk is None:
                    return
                for piece in self._pieces_of(chunk):
                    yield piece
        except EdgewardError as error:
            self._span.failed(error)
            raise
        finally:
            await self._end()

    async def _next_chunk(self) -> Chunk | None:
        assert self._open is not None, "it has been opened"
        chunk = await self._open.next_chunk()
        if chunk is None and self.finish_reason is None:
            raise AnswerInvalidError("the stream ended before the answer did")
        return chunk

    async def _go_on(self, error: EdgewardError) -> None:
        """Let another node go on with the answer.

        Raises:
            StreamBrokenError: none can.
        """
        broken, resumption = self._open, self._resumption
        assert broken is not None, "it has been opened"
        assert self._served is not None, "it has been opened"
        await broken.close()
        self._held.clear()
        self._broke_ids |= broken.node_ids
        hopeless = error.retry != "elsewhere" or isinstance(error, UnpackLimitError)
        if hopeless or not resumption.possible or self._served.resumed_count >= RESUMES_MOST_COUNT:
            raise self._broken(error) from error
        try:
            self._open = await self._elsewhere()
        except EdgewardError as refused:
            raise self._broken(error, f"; no other node goes on: {refused.message}") from error
        before, now = self._served, self._open.served
        self._served = structs.replace(
            now,
            ttft_ms=before.ttft_ms,
            attempts=before.attempts + now.attempts,
            refusals=(*before.refusals, f"{before.node_id}: {error.message}", *now.refusals),
            handed_on=before.handed_on + now.handed_on,
            resumed_count=before.resumed_count + 1,
            nodes=(*before.nodes, *now.nodes),
        )

    async def _elsewhere(self) -> OpenStream:
        """The rest from another node, or where there is no other from one that broke off: it may be back."""
        try:
            return await self._start(self._tell, self._resumption, self._broke_ids)
        except NoNodeAvailableError:
            return await self._start(self._tell, self._resumption)

    def _broken(self, error: EdgewardError, more: str = "") -> StreamBrokenError:
        node_id = self.served.node_id
        return StreamBrokenError(
            f"the stream from node {node_id} broke after {len(self.text)} characters: {error.message}{more}",
            text=self.text,
        )

    def _pieces_of(self, chunk: Chunk) -> list[Piece]:
        """What may be told: all that a cut from here on would not tell again."""
        resumption = self._resumption
        self._held.append(chunk)
        ends = any(choice.finish_reason for choice in chunk.choices)
        settled = resumption.note(
            chunk.edgeward,
            says=chunk.says() and not ends,
            answer_id=chunk.id,
            created=chunk.created,
            model=chunk.model,
        )
        if self._open is not None:
            self._open.patience.silence_s = resumption.silence_s
        if not settled:
            return []
        held, self._held = self._held, []
        return [piece for each in held for piece in self._told(each)]

    def _told(self, chunk: Chunk) -> list[Piece]:
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

    async def _end(self) -> None:
        if self._served is not None and self._served.total_ms == 0:
            self._served = structs.replace(self._served, total_ms=(self._now_s() - self._started_s) * 1000)
        if self._served is not None:
            self._span.answered(self._served, self.model, self.usage)
        self._span.end()
        if self._open is not None:
            await self._open.close()
