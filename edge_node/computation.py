"""An engine's work on one command, with the place that it holds: begun once, closed once, measured on the way.

When the engine dies in the middle of an answer, the one that is started in its place goes on with it, once: a request
that ends engines must not end one after the other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_node.continuation import Written
from edge_node.engines import Delta, Finished, Inferred, Progress, Started
from edge_node.errors import EngineDiedError
from edge_node.scheduler import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AsyncExitStack

    from edge_node.engines import Computed, Generate
    from edge_node.residents import Lease
    from edge_node.scheduler import Scheduler, Ticket
    from edge_node.telemetry import Metrics

log = structlog.get_logger()

Heard = Progress | Started | Delta | Finished
"""What a request may hear of a generation."""

REVIVAL_WAIT_S = 10.0
"""How long an answer waits for a new engine; longer, and its client had better ask another node."""


class Generating:
    """A generation at work (`edge_node.cache.flights.Computation`).

    Args:
        lease: the release that answers.
        ticket: the place, given back at the end.
        holds: what else is held until the end.
        prompt_bytes: what the prompt's tokens were guessed from.
        created_unix_s: when the answer was begun.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        lease: Lease,
        command: Generate,
        ticket: Ticket,
        holds: AsyncExitStack,
        *,
        prompt_bytes: int,
        created_unix_s: int,
        scheduler: Scheduler,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._lease = lease
        self._command = command
        self._events = lease.generate(command)
        self._written = Written(command.resume)
        self._created_unix_s = command.resume.created_unix_s if command.resume else created_unix_s
        self._continued = False
        self._earlier_s = 0.0  # what the engine that died had worked on it
        self._ticket = ticket
        self._holds = holds
        self._name = lease.name
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
        event = await self._hear()
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
                now_s=now_s,
            )
        elif isinstance(event, Delta):
            if event.tokens_count:
                gap_s = (now_s - self._told_at_s) / event.tokens_count
                self._metrics.tokens_apart(model=self._name, gap_s=gap_s, count=event.tokens_count)
            self._told_at_s = now_s
            self._written.note(event)
        elif isinstance(event, Finished) and self._started is not None:
            event = msgspec.structs.replace(event, decode_s=event.decode_s + self._earlier_s)
            self._service = _service(self._started, self._started.prefill_s + event.decode_s)
        return event

    async def _hear(self) -> Heard | None:
        while True:
            try:
                event = await anext(self._events, None)
            except EngineDiedError as error:
                await self._go_on(error)
                continue
            if not (isinstance(event, Started) and self._continued):  # told by the first engine
                return event

    async def _go_on(self, error: EngineDiedError) -> None:
        """Let the next engine go on from what was told.

        Raises:
            EngineDiedError: that cannot be, or would take too long.
        """
        if self._started is None or self._continued or not self._written.known:
            raise error
        self._continued = True
        began_s = self._clock()
        if not await self._lease.back(REVIVAL_WAIT_S):
            raise error
        self._earlier_s = self._told_at_s - self._started_at_s
        resume = self._written.resume("", created_unix_s=self._created_unix_s)
        self._events = self._lease.generate(msgspec.structs.replace(self._command, resume=resume))
        self._metrics.answer_continued(after="engine")
        log.info(
            "answer.continued",
            release=f"{self._lease.name}@{self._lease.version}",
            request_id=self._command.request_id,
            tokens_count=len(resume.tokens),
            waited_s=round(self._clock() - began_s, 3),
        )

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
        read_s=started.read_s,
    )
