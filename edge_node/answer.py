"""One request from parsed to answered: hold a release, be let in, generate, and give everything back.

Whatever ends a request early (the client goes away, also before the first token; an error; a deadline of the
caller) closes the engine's iterator, which cancels the work in the engine's process, and frees the place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from edge_node.engines import Delta, Finished, Started
from edge_node.errors import EngineFailedError, RequestInvalidError
from edge_node.scheduler import Service
from edge_node.telemetry import UNKNOWN_MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from edge_node.engines import Generate
    from edge_node.residents import Lease, Residents
    from edge_node.scheduler import Scheduler, Ticket
    from edge_node.telemetry import Metrics

Ability = Literal["chat", "completion"]

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Account:
    """What is known of one request, filled in as it happens; its end is one wide log line.

    Attributes:
        answer_id: unique on this node, unlike `request_id`, which the client may choose.
        prompt_bytes: the body's size after decompression; what the queue is bounded in.
        request_bytes: the body's size as it travelled.
        error: the code of the error that ended it, or nothing.
        status: set when it is not the response's, because that had begun before the error.
    """

    request_id: str
    answer_id: str
    route: str
    arrived_s: float
    model: str = UNKNOWN_MODEL
    release: str = ""
    error: str = ""
    status: int | None = None
    finish_reason: str = ""
    queue_ms: float | None = None
    prefill_ms: float | None = None
    first_token_ms: float | None = None
    decode_ms: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prompt_bytes: int = 0
    request_bytes: int = 0
    response_bytes: int = 0

    def server_timing(self) -> str:
        """What is measured so far, for the header `Server-Timing`."""
        parts = {"queue": self.queue_ms, "prefill": self.prefill_ms, "decode": self.decode_ms}
        return ", ".join(f"{name};dur={ms:.1f}" for name, ms in parts.items() if ms is not None)

    def close(self, *, status: int, now_s: float, metrics: Metrics, wide: bool) -> None:
        """Count the request, and log it when `wide`."""
        total_s = now_s - self.arrived_s
        status = self.status or status
        metrics.request_answered(route=self.route, model=self.model, code=status, duration_s=total_s)
        metrics.tokens(prompt_count=self.prompt_tokens, completion_count=self.completion_tokens)
        if not wide:
            return
        log.info(
            "request.answered",
            route=self.route,
            status=status,
            error=self.error,
            model=self.model,
            release=self.release,
            request_id=self.request_id,
            answer_id=self.answer_id,
            finish_reason=self.finish_reason,
            queue_ms=_rounded(self.queue_ms),
            prefill_ms=_rounded(self.prefill_ms),
            first_token_ms=_rounded(self.first_token_ms),
            total_ms=_rounded(total_s * 1000),
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
        )


class Generation:
    """A generation under way, told event by event; `answering.generate` makes it and ends it."""

    def __init__(
        self,
        lease: Lease,
        events: AsyncIterator[Started | Delta | Finished],
        account: Account,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.release = f"{lease.name}@{lease.version}"
        self.fingerprint = lease.ready.fingerprint
        self.service: Service | None = None
        self._name = lease.name
        self._events = events
        self._account = account
        self._metrics = metrics
        self._clock = clock
        self._pending: asyncio.Task[Started | Delta | Finished | None] | None = None
        self._started: Started | None = None
        self._started_at_s = 0.0

    async def next_event(self, wait_s: float | None = None) -> Started | Delta | Finished | None:
        """The next event; None when `wait_s` have passed without one, and then it may be asked for again.

        Raises:
            EngineFailedError: the engine broke.
            RequestInvalidError: the engine refuses the request.
        """
        if wait_s is None and self._pending is None:
            event = await anext(self._events, None)
        else:
            # A task of its own outlives the wait: giving up on an `anext` would cancel the generation.
            if self._pending is None:
                self._pending = asyncio.create_task(self._advance())
            done, _ = await asyncio.wait({self._pending}, timeout=wait_s)
            if not done:
                return None
            task, self._pending = self._pending, None
            event = task.result()
        if event is None:
            raise EngineFailedError(f"the engine of {self.release} ended in the middle of the answer")
        self._note(event)
        return event

    async def close(self) -> None:
        """Stop the engine's work on this, if it goes on, and note what was measured."""
        if self._pending is not None:
            self._pending.cancel()
            # Its outcome no longer matters: the request has ended for another reason already.
            await asyncio.wait({self._pending})
            with suppress(asyncio.CancelledError):
                self._pending.exception()
        if isinstance(self._events, AsyncGenerator):
            await self._events.aclose()
        if self.service is None and self._started is not None:
            # Ended early: what it held its slot for is a fact all the same.
            held_s = self._started.prefill_s + self._clock() - self._started_at_s
            self.service = self._served(self._started, held_s)

    async def _advance(self) -> Started | Delta | Finished | None:
        return await anext(self._events, None)

    def _note(self, event: Started | Delta | Finished) -> None:
        account, now_s = self._account, self._clock()
        if isinstance(event, Started):
            self._started, self._started_at_s = event, now_s
            account.queue_ms, account.prefill_ms = event.queue_s * 1000, event.prefill_s * 1000
            account.prompt_tokens, account.cached_tokens = event.prompt_tokens, event.cached_tokens
            self._metrics.prompt_started(model=self._name, queue_s=event.queue_s)
        elif isinstance(event, Delta):
            account.completion_tokens += event.tokens_count
            if account.first_token_ms is None:
                account.first_token_ms = (now_s - account.arrived_s) * 1000
                self._metrics.first_token(model=self._name, after_s=now_s - account.arrived_s)
        else:
            account.completion_tokens = event.completion_tokens
            account.decode_ms, account.finish_reason = event.decode_s * 1000, event.reason
            if self._started is not None:
                self.service = self._served(self._started, self._started.prefill_s + event.decode_s)
            if event.reason == "cancelled":
                raise EngineFailedError(
                    f"the engine of {self.release} was stopped in the middle of the answer"
                )

    @staticmethod
    def _served(started: Started, service_s: float) -> Service:
        read_tokens = started.prompt_tokens - started.cached_tokens
        return Service(service_s=service_s, read_tokens=read_tokens, prefill_s=started.prefill_s)


class Answering:
    """Answers requests on what this node holds ready.

    Args:
        clock: monotonic time in seconds.
    """

    def __init__(
        self, *, residents: Residents, scheduler: Scheduler, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._residents = residents
        self._scheduler = scheduler
        self._metrics = metrics
        self._clock = clock

    @asynccontextmanager
    async def generate(
        self, account: Account, model: str, ability: Ability, command: Generate
    ) -> AsyncGenerator[Generation]:
        """A generation; leaving the context ends it, finished or not.

        Raises:
            ModelNotHereError, ModelNotReadyError, DrainingError: no release to answer with.
            RequestInvalidError: the model cannot do this.
            OverloadedError: the queue is full.
        """
        async with self._residents.lease(model) as lease:
            ticket = self._enter(account, lease, ability)
            generation = None
            try:
                generation = Generation(lease, lease.generate(command), account, self._metrics, self._clock)
                yield generation
            finally:
                try:
                    if generation is not None:
                        await generation.close()
                finally:
                    service = generation.service if generation is not None else None
                    self._scheduler.leave(ticket, now_s=self._clock(), service=service)

    def _enter(self, account: Account, lease: Lease, ability: Ability) -> Ticket:
        account.model, account.release = lease.name, f"{lease.name}@{lease.version}"
        if ability not in lease.ready.abilities:
            raise RequestInvalidError(
                f"{lease.name} does not do {ability}; it does {', '.join(lease.ready.abilities)}",
                param="model",
            )
        return self._scheduler.admit(
            lease.name,
            lease.version,
            slots=lease.ready.slots,
            prompt_bytes=account.prompt_bytes,
            now_s=self._clock(),
        )


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
