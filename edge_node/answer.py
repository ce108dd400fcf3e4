"""One request from parsed to answered: find a kept answer, or join or begin its computation, and give all back.

Whatever ends a request early (the client goes away, also before the first token; an error; a deadline of the
caller) leaves its flight; the last one to leave stops the engine's work, and the place is free.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from edge_node.account import Account
from edge_node.cache.answers import AnswerCache, Tape
from edge_node.cache.flights import Flights
from edge_node.cache.keys import generation_key, is_repeatable
from edge_node.computation import Generating, Heard
from edge_node.continuation import refuse_foreign
from edge_node.engines import Delta, Finished, Progress, Started
from edge_node.entering import enter, hold, join
from edge_node.errors import RequestInvalidError
from edge_node.generation import Generation
from edge_node.scheduler import Asking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from edge_node.engines import Generate
    from edge_node.residents import Lease, Residents
    from edge_node.scheduler import Scheduler
    from edge_node.telemetry import Metrics

__all__ = ["Ability", "Account", "Answering", "Generation"]

Ability = Literal["chat", "completion"]


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
            completes=lambda event: isinstance(event, Finished),
        )

    @asynccontextmanager
    async def generate(
        self, account: Account, model: str, ability: Ability, command: Generate
    ) -> AsyncGenerator[Generation]:
        """A generation; leaving the context leaves it, finished or not.

        Raises:
            ModelNotHereError, ModelNotReadyError, DrainingError: no release to answer with.
            RequestInvalidError: the model cannot do this.
            ResumeMismatchError: the answer was begun with something else than is here.
            OverloadedError: the queue is full, or the client's deadline would pass.
            HandedOnError: another node of the request's ticket will answer sooner.
        """
        async with self._leased(account, model, ability) as (stack, lease):
            refuse_foreign(lease, command)
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
            listener = join(self._flights, account, lease, key)
            if listener is None:
                ticket = enter(self._scheduler, account, lease, self._clock())
                computation = Generating(
                    lease,
                    command,
                    ticket,
                    stack.pop_all(),
                    prompt_bytes=account.prompt_bytes,
                    created_unix_s=created_unix_s,
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
            lease = await stack.enter_async_context(hold(self._residents, account, model))
            account.operation = ability
            if ability not in lease.ready.abilities:
                raise RequestInvalidError(
                    f"{lease.name} does not do {ability}; it does {', '.join(lease.ready.abilities)}",
                    param="model",
                )
            yield stack, lease

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
