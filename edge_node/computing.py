"""One request that a single message of the engine answers: vectors, scores, tensors. Held, let in, given back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edge_node.errors import RequestInvalidError
from edge_node.scheduler import Asking, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from edge_node.account import Account
    from edge_node.engines import Compute, Computed, Ready
    from edge_node.residents import Lease, Residents
    from edge_node.scheduler import Scheduler, Ticket
    from edge_node.telemetry import Metrics

Ability = Literal["embedding", "rerank", "classification", "tensors"]

_INSTEAD: dict[str, str] = {
    "rerank": "it takes a cross-encoder, a model with one score for a query and a document together",
    "classification": "it takes a model with a score for each class",
    "embedding": "it takes a model that gives vectors",
    "tensors": "it takes an ONNX model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """Computes on what this node holds ready.

    Args:
        clock: monotonic time in seconds.
    """

    residents: Residents
    scheduler: Scheduler
    metrics: Metrics
    clock: Callable[[], float]

    def lease(self, model: str) -> AbstractAsyncContextManager[Lease]:
        """Hold the release that `model` means now; raises as `Residents.lease` does."""
        return self.residents.lease(model)

    async def compute(self, account: Account, lease: Lease, ability: Ability, command: Compute) -> Computed:
        """What the engine answers to one command.

        Raises:
            RequestInvalidError: the model cannot do this, or not with this input.
            OverloadedError: the queue is full.
            EngineFailedError: the engine broke.
        """
        account.model, account.release = lease.name, f"{lease.name}@{lease.version}"
        account.operation = ability
        check_ability(lease.name, lease.ready, ability)
        ticket = self._enter(account, lease)
        began_s = self.clock()
        service = None
        try:
            computed = await lease.compute(command)
            read_tokens = getattr(computed, "prompt_tokens", 0)
            account.prompt_tokens = read_tokens
            account.prefill_ms = computed.compute_s * 1000
            account.queue_ms = max(0.0, (self.clock() - began_s - computed.compute_s) * 1000)
            self.metrics.prompt_started(model=lease.name, queue_s=account.queue_ms / 1000, cached_from="")
            service = Service(
                service_s=computed.service_s,
                prompt_tokens=read_tokens,
                read_tokens=read_tokens,
                prefill_s=computed.compute_s,
            )
            return computed
        finally:
            self.scheduler.leave(ticket, now_s=self.clock(), service=service)

    def _enter(self, account: Account, lease: Lease) -> Ticket:
        now_s = self.clock()
        left_s = None if account.deadline_s is None else max(0.0, account.deadline_s - now_s)
        return self.scheduler.admit(
            lease.name,
            lease.version,
            slots=lease.ready.slots,
            asking=Asking(client=account.share, prompt_bytes=account.prompt_bytes, start_within_s=left_s),
            now_s=now_s,
        )


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
