"""One request that a single message of the engine answers: vectors, scores, tensors.

All of them are pure: the same input gives the same answer, so they are kept, and computed once for everyone who asks
the same at the same time.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from edge_node.cache.answers import Outcome
from edge_node.cache.flights import Flights
from edge_node.cache.keys import pure_key
from edge_node.computation import Once, tokens_read
from edge_node.engines import Embedded, Inferred
from edge_node.entering import enter, hold, join
from edge_node.errors import EngineFailedError, OverloadedError, RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from edge_node.account import Account
    from edge_node.cache.answers import AnswerCache
    from edge_node.cache.flights import Listener
    from edge_node.engines import Compute, Computed, Ready
    from edge_node.residents import Lease, Residents
    from edge_node.scheduler import Scheduler
    from edge_node.telemetry import Metrics

Ability = Literal["embedding", "rerank", "classification", "tensors"]

_INSTEAD: dict[str, str] = {
    "rerank": "it takes a cross-encoder, a model with one score for a query and a document together",
    "classification": "it takes a model with a score for each class",
    "embedding": "it takes a model that gives vectors",
    "tensors": "it takes an ONNX model",
}


# Hashing or packing more than this is felt by the others on the same loop.
_INLINE_LIMIT_BYTES = 64 << 10
_KEPT_LIMIT_BYTES = 4 << 20


class Told(NamedTuple):
    """A computed answer, what its model is, and since when the answer is there."""

    computed: Computed
    name: str
    version: str
    ready: Ready
    created_unix_s: int
    space_id: str


def _pure_flights() -> Flights[Computed]:
    return Flights(passes=lambda _: False, completes=lambda _: True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """Computes on what this node holds ready.

    Args:
        cache: the answers kept.
        clock: monotonic time in seconds.
        wall_clock: Unix time in seconds.
    """

    residents: Residents
    scheduler: Scheduler
    metrics: Metrics
    cache: AnswerCache
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    _flights: Flights[Computed] = field(default_factory=_pure_flights)

    def lease(self, model: str) -> AbstractAsyncContextManager[Lease]:
        """Hold the release that `model` means now; raises as `Residents.lease` does."""
        return self.residents.lease(model)

    async def compute(
        self, account: Account, model: str, ability: Ability, command: Callable[[Lease], Compute]
    ) -> Told:
        """What the engine answers to one command, now or before; `account.answer_id` becomes the answer's.

        Args:
            account: of the request.
            model: what it asks for.
            ability: what the model must be able to do.
            command: made for the model, with an empty id.

        Raises:
            ModelNotHereError, ModelNotReadyError, DrainingError: no release to answer with.
            RequestInvalidError: the model cannot do this, or not with this input.
            OverloadedError: the queue is full, or the client's deadline would pass.
            HandedOnError: another node of the request's ticket will answer sooner.
            EngineFailedError: the engine broke.
        """
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(hold(self.residents, account, model))
            account.operation = ability
            check_ability(lease.name, lease.ready, ability)
            asked = command(lease)
            key = None
            if self.cache.on and account.terms.store:
                key = await _key(lease, account, asked)
                kept = self.cache.find(key, account.terms, Outcome)
                if kept is not None:
                    outcome, age_s = kept
                    account.answered_from("hit", lease.stamp, age_s)
                    account.prompt_tokens = tokens_read(outcome.computed)
                    _rename(account, outcome.answer_id)
                    return Told(
                        outcome.computed,
                        lease.name,
                        lease.version,
                        lease.ready,
                        outcome.created_unix_s,
                        lease.space_id,
                    )
            listener = join(self._flights, account, lease, key)
            if listener is None:
                listener = self._begin(account, lease, stack, key, asked)
            try:
                computed = await self._heard(account, lease, listener)
            finally:
                await listener.close()
            if computed is None:
                raise EngineFailedError(f"the engine of {lease.name} ended without an answer")
            self._note(account, computed)
            _rename(account, listener.name[0])
            return Told(computed, lease.name, lease.version, lease.ready, listener.name[1], lease.space_id)

    async def _heard(self, account: Account, lease: Lease, listener: Listener[Computed]) -> Computed | None:
        """The answer, while its client still waits for it."""
        left_s = None if account.deadline_s is None else max(0.0, account.deadline_s - self.clock())
        try:
            async with asyncio.timeout(left_s):
                return await listener.next_event()
        except TimeoutError:
            raise OverloadedError(
                f"{lease.name} was not done with this before its client's time was over; ask another node",
                retry_after_s=1.0,
            ) from None

    def _begin(
        self, account: Account, lease: Lease, stack: AsyncExitStack, key: bytes | None, command: Compute
    ) -> Listener[Computed]:
        """Begin a computation, which takes over what the stack holds."""
        ticket = enter(self.scheduler, account, lease, self.clock())
        answer_id, created_unix_s = account.answer_id, int(self.wall_clock())
        computation = Once(
            lease.compute(replace(command, request_id=answer_id)),
            ticket,
            stack.pop_all(),
            scheduler=self.scheduler,
            clock=self.clock,
        )
        return self._flights.begin(
            key,
            computation,
            lambda events: self._keep(key, answer_id, created_unix_s, events[-1]),
            name=(answer_id, created_unix_s),
        )

    def _note(self, account: Account, computed: Computed) -> None:
        held_ms = (self.clock() - account.arrived_s) * 1000
        account.prefill_ms = (computed.compute_s or computed.service_s) * 1000
        account.queue_ms = max(0.0, held_ms - account.prefill_ms)
        account.prompt_tokens = tokens_read(computed)
        if account.cache != "coalesced":
            self.metrics.prompt_started(model=account.model, queue_s=account.queue_ms / 1000, cached_from="")

    def _keep(self, key: bytes | None, answer_id: str, created_unix_s: int, computed: Computed) -> None:
        if key is None or _size_bytes(computed) > _KEPT_LIMIT_BYTES:
            return
        computed = replace(computed, request_id="")
        outcome = Outcome(answer_id=answer_id, created_unix_s=created_unix_s, computed=computed)
        self.cache.keep(key, outcome)


async def _key(lease: Lease, account: Account, command: Compute) -> bytes:
    if account.prompt_bytes <= _INLINE_LIMIT_BYTES:
        return pure_key(lease.stamp, account.client, command)
    return await asyncio.to_thread(pure_key, lease.stamp, account.client, command)


def _rename(account: Account, answer_id: str) -> None:
    # The answer that others have too keeps its name; the word before it is this request's.
    word, dash, _ = account.answer_id.rpartition("-")
    account.answer_id = f"{word}{dash}{answer_id.rpartition('-')[2]}"


def _size_bytes(computed: Computed) -> int:
    if isinstance(computed, Inferred):
        return sum(len(tensor.data) for tensor in computed.outputs)
    return len(computed.vectors if isinstance(computed, Embedded) else computed.values)


def check_ability(name: str, ready: Ready, ability: Ability) -> None:
    """Refuse what a model cannot do.

    Raises:
        RequestInvalidError: it has not this ability; the message says which it has.
    """
    if ability not in ready.abilities:
        raise RequestInvalidError(
            f"{name} does not do {ability}; it does {', '.join(ready.abilities)}: {_INSTEAD[ability]}",
            param="model",
        )


def checked_dims(name: str, ready: Ready, dims: int | None) -> int:
    """The length of the vectors to make, 0 for the model's own.

    Raises:
        RequestInvalidError: the model was not made to give vectors of this length.
    """
    own = ready.embedding_dims
    if dims is None or dims == own:
        return 0
    if dims in ready.shorter_dims or (ready.any_shorter_dims and 0 < dims < own):
        return dims
    allowed = [*map(str, ready.shorter_dims), str(own)]
    may = (
        f"{name} makes vectors of {' or '.join(allowed)} dimensions"
        if ready.shorter_dims
        else (
            f"{name} makes vectors of {own} dimensions and cannot {'lengthen' if dims > own else 'shorten'} them"
        )
    )
    raise RequestInvalidError(f"{may}; leave dimensions out or send {own}", param="dimensions")
