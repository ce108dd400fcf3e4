"""One request from parsed to answered: find a kept answer, or join or begin its computation, and give all back.

Whatever ends a request early (the client goes away, also before the first token; an error; a deadline of the
caller) leaves its flight; the last one to leave stops the engine's work, and the place is free.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from edge_node.account import Account
from edge_node.cache.answers import AnswerCache, Tape, Vectors
from edge_node.cache.flights import Flights
from edge_node.cache.keys import generation_key, is_repeatable, pure_key
from edge_node.computation import Generating, Heard, Once
from edge_node.computing import checked_dims
from edge_node.engines import Delta, Embed, Embedded, Finished, Progress, Started
from edge_node.errors import AnswerNotKeptError, EngineFailedError, RequestInvalidError
from edge_node.generation import Generation
from edge_node.scheduler import Asking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from edge_node.cache.flights import Listener
    from edge_node.engines import Generate
    from edge_node.residents import Lease, Residents
    from edge_node.scheduler import Scheduler, Ticket
    from edge_node.telemetry import Metrics

__all__ = ["Ability", "Account", "Answering", "Generation"]

Ability = Literal["chat", "completion", "embedding"]


class Answering:
    """Answers requests on what this node holds ready.

    Args:
        cache: the answers kept.
        clock: monotonic time in seconds.
        wall_clock: Unix time in seconds.
    """

    def __init__(
        self,
        *,
        residents: Residents,
        scheduler: Scheduler,
        metrics: Metrics,
        cache: AnswerCache,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._residents = residents
        self._scheduler = scheduler
        self._metrics = metrics
        self._cache = cache
        self._clock = clock
        self._wall_clock = wall_clock
        self._flights: Flights[Heard] = Flights(
            passes=lambda event: isinstance(event, Progress),
            completes=lambda event: isinstance(event, Finished | Embedded),
        )

    @asynccontextmanager
    async def generate(
        self, account: Account, model: str, ability: Ability, command: Generate
    ) -> AsyncGenerator[Generation]:
        """A generation; leaving the context leaves it, finished or not.

        Raises:
            ModelNotHereError, ModelNotReadyError, DrainingError: no release to answer with.
            RequestInvalidError: the model cannot do this.
            OverloadedError: the queue is full, or the client's deadline would pass.
        """
        async with self._leased(account, model, ability) as (stack, lease):
            command = msgspec.structs.replace(command, client=account.client, reports_progress=True)
            created_unix_s = int(self._wall_clock())
            generation = Generation(lease, account, self._metrics, self._clock, created_unix_s=created_unix_s)
            key = None
            if self._cache.on and account.terms.store and is_repeatable(command):
                key = generation_key(lease.stamp, account.client, command)
                kept = self._cache.find(key, account.terms, Tape)
                if kept is not None:
                    account.answered_from("hit", lease.stamp, kept[1])
                    generation.play(kept[0])
                    yield generation
                    return
            listener = self._joined(account, lease, key)
            if listener is None:
                ticket = self._enter(account, lease)
                computation = Generating(
                    lease.generate(command),
                    ticket,
                    stack.pop_all(),
                    name=lease.name,
                    prompt_bytes=account.prompt_bytes,
                    scheduler=self._scheduler,
                    metrics=self._metrics,
                    clock=self._clock,
                )
                listener = self._flights.begin(
                    key,
                    computation,
                    lambda events: self._keep_tape(key, account.answer_id, created_unix_s, events),
                    name=(account.answer_id, created_unix_s),
                )
                generation.wait_s = computation.wait_s
            generation.hear(listener)
            try:
                yield generation
            finally:
                await generation.close()

    async def embed(
        self,
        account: Account,
        model: str,
        inputs: tuple[str, ...],
        *,
        dimensions: int | None,
        cut_tokens: int = 0,
    ) -> Embedded:
        """One vector for each input.

        Raises:
            ModelNotHereError, ModelNotReadyError, DrainingError: no release to answer with.
            RequestInvalidError: the model cannot do this.
            OverloadedError: the queue is full, or the client's deadline would pass.
        """
        async with self._leased(account, model, "embedding") as (stack, lease):
            dims = checked_dims(lease.name, lease.ready, dimensions)
            command = Embed(request_id="", inputs=inputs, dims=dims, cut_tokens=cut_tokens)
            key = None
            if self._cache.on and account.terms.store:
                key = pure_key(lease.stamp, account.client, command)
                kept = self._cache.find(key, account.terms, Vectors)
                if kept is not None:
                    account.answered_from("hit", lease.stamp, kept[1])
                    account.prompt_tokens = kept[0].embedded.prompt_tokens
                    return kept[0].embedded
            listener = self._joined(account, lease, key)
            if listener is None:
                ticket = self._enter(account, lease)
                command = msgspec.structs.replace(command, request_id=account.answer_id)
                computation = Once(
                    lease.embed(command),
                    ticket,
                    stack.pop_all(),
                    scheduler=self._scheduler,
                    clock=self._clock,
                )
                listener = self._flights.begin(
                    key, computation, lambda events: self._keep_vectors(key, events)
                )
            try:
                embedded = await listener.next_event()
            finally:
                await listener.close()
            if not isinstance(embedded, Embedded):
                raise EngineFailedError(f"the engine of {lease.name} ended without an answer")
            held_ms = (self._clock() - account.arrived_s) * 1000
            account.prefill_ms = (embedded.compute_s or embedded.service_s) * 1000
            account.queue_ms = max(0.0, held_ms - account.prefill_ms)
            account.prompt_tokens = embedded.prompt_tokens
            return embedded

    def refuse_if_full(self, account: Account, prompt_bytes: int) -> None:
        """Refuse a request whatever model it names, when none has room for so many bytes.

        Raises:
            OverloadedError: the node's queues are full.
        """
        asking = Asking(client=account.share, prompt_bytes=prompt_bytes)
        refusals = []
        for model in self._residents.ready_models():
            refusal = self._scheduler.refusal(
                model.name, model.version, slots=model.slots, asking=asking, now_s=self._clock()
            )
            if refusal is None:
                return
            refusals.append(refusal)
        if refusals:
            raise min(refusals, key=lambda refusal: refusal.retry_after_s or 0.0)

    @asynccontextmanager
    async def _leased(
        self, account: Account, model: str, ability: Ability
    ) -> AsyncIterator[tuple[AsyncExitStack, Lease]]:
        """A lease, which a computation may take over with the stack."""
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(self._residents.lease(model))
            account.model, account.release = lease.name, f"{lease.name}@{lease.version}"
            account.asked, account.operation = model, ability
            if ability not in lease.ready.abilities:
                raise RequestInvalidError(
                    f"{lease.name} does not do {ability}; it does {', '.join(lease.ready.abilities)}",
                    param="model",
                )
            yield stack, lease

    def _joined(self, account: Account, lease: Lease, key: bytes | None) -> Listener[Heard] | None:
        """A place at a computation under way that gives the same answer."""
        if account.terms.only_kept:
            raise AnswerNotKeptError("no answer to this is kept here, and the request asks for no other")
        if key is None:
            account.answered_from("bypass", lease.stamp)
            return None
        listener = None
        if account.terms.max_age_s is None:  # else a newer answer is wanted than one that has begun
            listener = self._flights.join(key)
        account.answered_from("miss" if listener is None else "coalesced", lease.stamp)
        return listener

    def _enter(self, account: Account, lease: Lease) -> Ticket:
        now_s = self._clock()
        left_s = None if account.deadline_s is None else max(0.0, account.deadline_s - now_s)
        return self._scheduler.admit(
            lease.name,
            lease.version,
            slots=lease.ready.slots,
            asking=Asking(client=account.share, prompt_bytes=account.prompt_bytes, start_within_s=left_s),
            now_s=now_s,
        )

    def _keep_tape(
        self, key: bytes | None, answer_id: str, created_unix_s: int, events: tuple[Heard, ...]
    ) -> None:
        if key is None or not isinstance(events[0], Started) or not isinstance(events[-1], Finished):
            return
        if events[-1].reason == "cancelled":
            return
        tape = Tape(
            answer_id=answer_id,
            created_unix_s=created_unix_s,
            started=msgspec.structs.replace(events[0], request_id=""),
            deltas=tuple(
                msgspec.structs.replace(event, request_id="") for event in events if isinstance(event, Delta)
            ),
            finished=msgspec.structs.replace(events[-1], request_id=""),
        )
        self._cache.keep(key, tape)

    def _keep_vectors(self, key: bytes | None, events: tuple[Heard, ...]) -> None:
        if key is not None and isinstance(events[-1], Embedded):
            self._cache.keep(key, Vectors(embedded=msgspec.structs.replace(events[-1], request_id="")))
