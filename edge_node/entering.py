"""How a request comes to its computation: it joins one under way that gives the same answer, or takes a place.

Here alone a request that carries a ticket is weighed: before it waits for a load, and before it takes a place. What is
kept or under way is answered here, whatever the queue.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from edge_node.errors import AnswerNotKeptError
from edge_node.handing_on import Standing
from edge_node.scheduler import Asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge_node.account import Account
    from edge_node.cache.flights import Flights, Listener
    from edge_node.residents import Lease, Residents
    from edge_node.scheduler import Scheduler, Ticket

E = TypeVar("E")


@asynccontextmanager
async def hold(residents: Residents, account: Account, model: str) -> AsyncIterator[Lease]:
    """Hold the release that `model` means now, unless a node of the request's ticket has it loaded sooner.

    Raises:
        ModelOutOfScopeError: the client's key may not ask it.
        HandedOnError: the request should go there.
        ModelNotHereError, ModelNotReadyError, DrainingError: no release to answer with.
    """
    account.caller.check_model(model)
    account.asked = model
    if account.carried is not None:
        await account.carried.weigh_load(model, lambda: residents.load_left_s(model))
    async with residents.lease(model) as lease:
        account.caller.check_model(lease.name)
        account.model, account.release = lease.name, f"{lease.name}@{lease.version}"
        yield lease


def join(flights: Flights[E], account: Account, lease: Lease, key: bytes | None) -> Listener[E] | None:
    """A place at a computation under way that gives the same answer; None when there is none to join.

    Raises:
        AnswerNotKeptError: the request asks for a kept answer or none.
    """
    if account.terms.only_kept:
        raise AnswerNotKeptError("no answer to this is kept here, and the request asks for no other")
    if key is None:
        account.answered_from("bypass", lease.stamp)
        return None
    listener = None
    if account.terms.max_age_s is None:  # else a newer answer is wanted than one that has begun
        listener = flights.join(key)
    account.answered_from("miss" if listener is None else "coalesced", lease.stamp)
    return listener


def enter(scheduler: Scheduler, account: Account, lease: Lease, now_s: float) -> Ticket:
    """A place for a computation of its own.

    Raises:
        HandedOnError: another node of its ticket will begin sooner.
        OverloadedError: the queue is full, or the client's deadline would pass.
    """
    if account.carried is not None:
        wait_s = scheduler.newcomer_wait_s(
            lease.name, lease.version, slots=lease.ready.slots, client=account.share, now_s=now_s
        )
        account.carried.weigh(lease.name, Standing(wait_s=wait_s))
        account.carried.settle()
    left_s = None if account.deadline_s is None else max(0.0, account.deadline_s - now_s)
    return scheduler.admit(
        lease.name,
        lease.version,
        slots=lease.ready.slots,
        asking=Asking(client=account.share, prompt_bytes=account.prompt_bytes, start_within_s=left_s),
        now_s=now_s,
    )
