"""One engine's work on one command, with the place that it holds: begun once, closed once, measured on the way."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from edge_node.engines import Delta, Finished, Inferred, Progress, Started
from edge_node.scheduler import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AsyncExitStack

    from edge_node.engines import Computed
    from edge_node.scheduler import Scheduler, Ticket
    from edge_node.telemetry import Metrics

Heard = Progress | Started | Delta | Finished
"""What a request may hear of a generation."""


class Generating:
    """A generation at work (`edge_node.cache.flights.Computation`).

    Args:
        events: what the engine says; not begun yet.
        ticket: the place, given back at the end.
        holds: what else is held until the end.
        name: the model, for the metrics.
        prompt_bytes: what the prompt's tokens were guessed from.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        events: AsyncIterator[Progress | Started | Delta | Finished],
        ticket: Ticket,
        holds: AsyncExitStack,
        *,
        name: str,
        prompt_bytes: int,
        scheduler: Scheduler,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._events = events
        self._ticket = ticket
        self._holds = holds
        self._name = name
        self._prompt_bytes = prompt_bytes
        self._scheduler = scheduler
        self._metrics = metrics
        self._clock = clock
        self._started: Started | None = None
        self._started_at_s = 0.0
        self._told_at_s = 0.0
        self._service: Service | None = None
        self._open = True

    async def next_event(self) -> Heard | None:
        """The next event, or None at the end.

        Raises:
            EngineFailedError: the engine broke.
            RequestInvalidError: the engine refuses the request.
        """
        event = await anext(self._events, None)
        now_s = self._clock()
        if isinstance(event, Started):
            self._started, self._started_at_s, self._told_at_s = event, now_s, now_s
            self._metrics.prompt_started(
                model=self._name, queue_s=event.queue_s, cached_from=event.cached_from
            )
            self._scheduler.started(
                self._ticket,
                prompt_tokens=event.prompt_tokens + event.resumed_tokens,
                prompt_bytes=self._prompt_bytes,
            )
        elif isinstance(event, Delta):
            if event.tokens_count:
                gap_s = (now_s - self._told_at_s) / event.tokens_count
                self._metrics.tokens_apart(model=self._name, gap_s=gap_s, count=event.tokens_count)
            self._told_at_s = now_s
        elif isinstance(event, Finished) and self._started is not None:
            self._service = _service(self._started, self._started.prefill_s + event.decode_s)
        return event

    def wait_s(self) -> float | None:
        """How long it will still wait for a slot, if that is known."""
        return self._scheduler.wait_s(self._ticket, now_s=self._clock()) if self._open else None

    async def close(self) -> None:
        """Stop the engine's work on this, if it goes on, and give the place back."""
        self._open = False
        try:
            if isinstance(self._events, AsyncGenerator):
                await self._events.aclose()
        finally:
            now_s = self._clock()
            if self._service is None and self._started is not None:
                # Ended early: what it held its slot for is a fact all the same.
                held_s = self._started.prefill_s + now_s - self._started_at_s
                self._service = _service(self._started, held_s)
            self._scheduler.leave(self._ticket, now_s=now_s, service=self._service)
            await self._holds.aclose()


class Once:
    """Work that gives one answer (`edge_node.cache.flights.Computation`); arguments as for `Generating`."""

    def __init__(
        self,
        answer: Coroutine[object, object, Computed],
        ticket: Ticket,
        holds: AsyncExitStack,
        *,
        scheduler: Scheduler,
        clock: Callable[[], float],
    ) -> None:
        self._answer: Coroutine[object, object, Computed] | None = answer
        self._ticket = ticket
        self._holds = holds
        self._scheduler = scheduler
        self._clock = clock
        self._service: Service | None = None

    async def next_event(self) -> Computed | None:
        """The answer, and then None. Raises as `Generating.next_event` does."""
        if self._answer is None:
            return None
        answer, self._answer = self._answer, None
        computed = await answer
        read_tokens = tokens_read(computed)
        self._service = Service(
            service_s=computed.service_s,
            prompt_tokens=read_tokens,
            read_tokens=read_tokens,
            prefill_s=computed.compute_s or computed.service_s,
        )
        return computed

    async def close(self) -> None:
        """Give the place back."""
        if self._answer is not None:
            self._answer.close()
        self._scheduler.leave(self._ticket, now_s=self._clock(), service=self._service)
        await self._holds.aclose()


def tokens_read(computed: Computed) -> int:
    """The tokens of the texts; tensors have none."""
    return 0 if isinstance(computed, Inferred) else computed.prompt_tokens


def _service(started: Started, service_s: float) -> Service:
    return Service(
        service_s=service_s,
        prompt_tokens=started.prompt_tokens,
        read_tokens=started.prompt_tokens + started.resumed_tokens - started.cached_tokens,
        prefill_s=started.prefill_s,
    )
