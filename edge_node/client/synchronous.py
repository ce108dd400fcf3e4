"""Client: the same calls without an event loop of one's own; one private thread runs the async client."""

from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from edge_node.client.asynchronous import AsyncClient
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from types import TracebackType

    from edge_node.client.answers import (
        ChatAnswer,
        Classes,
        Completion,
        Embeddings,
        Piece,
        Ranking,
        Served,
        Usage,
    )
    from edge_node.client.asynchronous import Messages
    from edge_node.client.config import ClientConfig
    from edge_node.client.stream import TextStream
    from edge_node.client.tensors import Tensor, Tensors
    from origin.api import CatalogAnswer, Place, RouteAnswer
    from origin.api_fleet import NodeView

CLOSE_LIMIT_S = 5.0
T = TypeVar("T")


class _Loop:
    """An event loop in a daemon thread; any thread may give it work."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgeward-client", daemon=True)
        self._thread.start()

    def run(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the work there and wait for it here; whatever interrupts the waiting cancels the work.

        `start` is called in the thread: a Ctrl-C here then never falls between the making of a coroutine and
        its start, which would leave it forgotten.
        """
        outcome: Future[T] = Future()
        try:
            self._loop.call_soon_threadsafe(self._begin, start, outcome)
            return outcome.result()
        except BaseException:
            # On Ctrl-C the request must stop, too, or the node would go on writing for nobody.
            outcome.cancel()
            raise

    def _begin(self, start: Callable[[], Coroutine[Any, Any, T]], outcome: Future[T]) -> None:
        if outcome.cancelled():
            return
        task = self._loop.create_task(start())

        def tell(done: asyncio.Task[T]) -> None:
            # Once running, it can no longer be cancelled from outside in the middle of being told.
            if not outcome.set_running_or_notify_cancel():
                return
            if done.cancelled():
                outcome.set_exception(CancelledError())
            elif (error := done.exception()) is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(done.result())

        def stop(given_up: Future[T]) -> None:
            if given_up.cancelled():
                with suppress(RuntimeError):  # the loop has ended, and the task with it
                    self._loop.call_soon_threadsafe(task.cancel)

        task.add_done_callback(tell)
        outcome.add_done_callback(stop)

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Do the last work, then end the thread. Never raises: it also runs at the interpreter's exit."""
        if self._loop.is_closed():
            last.close()
            return
        asyncio.run_coroutine_threadsafe(self._finish(last), self._loop)
        self._thread.join(CLOSE_LIMIT_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _finish(self, last: Coroutine[Any, Any, None]) -> None:
        try:
            others = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await last
            await self._loop.shutdown_asyncgens()
        finally:
            self._loop.stop()


class SyncTextStream:
    """An answer as it is written: an iterator of pieces; attributes as those of `TextStream`."""

    def __init__(self, stream: TextStream, loop: _Loop) -> None:
        self._stream = stream
        self._loop = loop

    @property
    def text(self) -> str:
        """All text of the first choice so far."""
        return self._stream.text

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; None before it has."""
        return self._stream.finish_reason

    @property
    def usage(self) -> Usage | None:
        """Tokens, once the stream has ended."""
        return self._stream.usage

    @property
    def served(self) -> Served:
        """Which node answers; see `TextStream.served`."""
        return self._stream.served

    def open(self) -> None:
        """Connect and wait for the first piece; iterating does this by itself."""
        self._loop.run(self._stream.open)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        piece = self._loop.run(self._next)
        if piece is None:
            raise StopIteration
        return piece

    async def _next(self) -> Piece | None:
        # A StopAsyncIteration cannot pass through a future.
        return await anext(self._stream, None)

    def close(self) -> None:
        """Stop; the node stops writing, too."""
        self._loop.run(self._stream.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """A client of the network; use it as a `with` block, call `close`, or leave it to the program's end.

    Arguments and errors are those of `AsyncClient`.
    """

    def __init__(
        self,
        origin: str | Sequence[str] | None = None,
        *,
        place: Place | tuple[float, float] | None = None,
        api_key: str | None = None,
        timeout_s: float | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        self._client = AsyncClient(origin, place=place, api_key=api_key, timeout_s=timeout_s, config=config)
        self._loop = _Loop()
        # Runs once: at `close`, when the client is collected, or before the interpreter stops daemon threads.
        self._close = weakref.finalize(self, _close, self._client, self._loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what still runs and close every connection; the client is of no use afterwards."""
        self._close()

    @overload
    def chat(
        self, messages: Messages, *, model: str | None = None, stream: Literal[False] = False, **sampling: Any
    ) -> ChatAnswer: ...
    @overload
    def chat(
        self, messages: Messages, *, model: str | None = None, stream: Literal[True], **sampling: Any
    ) -> SyncTextStream: ...
    def chat(
        self, messages: Messages, *, model: str | None = None, stream: bool = False, **sampling: Any
    ) -> ChatAnswer | SyncTextStream:
        """The next turn of a chat; see `AsyncClient.chat`."""
        if stream:
            streamed = self.stream_chat(messages, model=model, **sampling)
            streamed.open()
            return streamed
        answer: ChatAnswer = self._run(partial(self._client.chat, messages, model=model, **sampling))
        return answer

    def stream_chat(self, messages: Messages, *, model: str | None = None, **sampling: Any) -> SyncTextStream:
        """The next turn of a chat, piece by piece; see `AsyncClient.stream_chat`."""
        return self._run(partial(self._streamed, self._client.stream_chat, messages, model, sampling))

    def complete(self, prompt: str, *, model: str | None = None, **sampling: Any) -> Completion:
        """The continuation of a text; see `AsyncClient.complete`."""
        return self._run(partial(self._client.complete, prompt, model=model, **sampling))

    def stream_complete(self, prompt: str, *, model: str | None = None, **sampling: Any) -> SyncTextStream:
        """The continuation of a text, piece by piece."""
        return self._run(partial(self._streamed, self._client.stream_complete, prompt, model, sampling))

    def embed(self, inputs: str | Sequence[str], *, model: str | None = None) -> Embeddings:
        """One vector for each input."""
        return self._run(partial(self._client.embed, inputs, model=model))

    def rerank(
        self, query: str, documents: Sequence[str], *, model: str, top_n: int | None = None
    ) -> Ranking:
        """The documents by their relevance to a query; see `AsyncClient.rerank`."""
        return self._run(partial(self._client.rerank, query, documents, model=model, top_n=top_n))

    def classify(self, inputs: str | Sequence[str], *, model: str) -> Classes:
        """Each text's class."""
        return self._run(partial(self._client.classify, inputs, model=model))

    def infer(self, inputs: Mapping[str, Tensor], *, model: str, outputs: Sequence[str] = ()) -> Tensors:
        """What an ONNX model makes of tensors: these outputs, or all."""
        return self._run(partial(self._client.infer, inputs, model=model, outputs=outputs))

    def route(self, model: str | None = None) -> RouteAnswer:
        """The nodes that can answer for a model, best first, with the terms of each score."""
        return self._run(partial(self._client.route, model))

    def nodes(self) -> tuple[NodeView, ...]:
        """Every node that the origin knows."""
        return self._run(self._client.nodes)

    def models(self) -> CatalogAnswer:
        """Every published release, and where each channel points."""
        return self._run(self._client.models)

    def _run(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._close.alive:
            raise InputInvalidError("this client is closed")
        return self._loop.run(start)

    async def _streamed(
        self, start: Callable[..., TextStream], first: Any, model: str | None, sampling: dict[str, Any]
    ) -> SyncTextStream:
        # The HTTP session must be made on the loop that will use it.
        return SyncTextStream(start(first, model=model, **sampling), self._loop)


def _close(client: AsyncClient, loop: _Loop) -> None:
    loop.stop(client.aclose())
