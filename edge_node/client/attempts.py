"""One attempt at one node: watched while it is silent, hedged if it is late, and remembered by its outcome."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from edge_node.client.budget import HedgeAllowance
from edge_node.client.call import Journey
from edge_node.client.hedging import Latencies, work_of
from edge_node.client.patience import first_check_s, next_check_s
from edge_node.client.silence import WatchedItems, ended
from edge_node.errors import (
    AnswerInvalidError,
    DrainingError,
    EngineFailedError,
    ModelNotHereError,
    ModelNotReadyError,
    NodeSilentError,
    NodeUnreachableError,
    OverloadedError,
)
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from edge_node.client.call import Call
    from edge_node.client.nearest import Nearest
    from edge_node.client.prober import Prober
    from edge_node.client.turns import Turns
    from origin.api import RankedNode

_BROKEN = (NodeUnreachableError, AnswerInvalidError, EngineFailedError)
"""What counts against a node. Any other answer shows that it works."""
_BUSY = (OverloadedError, ModelNotReadyError)
_AWAY = (DrainingError, ModelNotHereError)
_AWAY_S = 30.0
T = TypeVar("T")


class Attempts:
    """Makes attempts for all calls of one client.

    Args:
        nearest: what is known of the nodes.
        prober: asks silent nodes whether they live.
        turns: the budget of second requests.
        replace_nodes: called with the model when one of its nodes keeps failing.
        now_s: the clock.
    """

    def __init__(
        self,
        nearest: Nearest,
        prober: Prober,
        turns: Turns,
        *,
        replace_nodes: Callable[[str], object],
        now_s: Callable[[], float],
    ) -> None:
        self._nearest = nearest
        self._prober = prober
        self._turns = turns
        self._replace_nodes = replace_nodes
        self._now_s = now_s
        self._hedges = HedgeAllowance()
        self._latencies = Latencies()

    async def once(
        self, call: Call, node: RankedNode, attempt: Callable[[Call, RankedNode], Awaitable[T]]
    ) -> T:
        """One attempt at one node; what comes of it is remembered of whichever node had it in the end.

        Raises:
            EdgewardError: it failed, or the node is silent and does not answer a probe either.
        """
        call.attempts_count += 1
        call.tried.append(node.node_id)
        ejections, journey = self._nearest.ejections, Journey(node)
        ejections.begin(node.node_id, self._now_s())
        self._nearest.set_out(journey)
        try:
            result = await self._watched(replace(call, journey=journey), journey, node, attempt)
        except EdgewardError as error:
            call.refusals.append(f"{node.node_id}: {error.message}")
            self._failed(call, node, journey, error)
            raise
        except BaseException:
            ejections.gave_up(node.node_id)
            raise
        finally:
            if not journey.streams:
                self._nearest.came_back(journey)
        for worked in filter(None, {node.node_id, journey.node_id}):
            self._nearest.answered(worked, self._now_s())
        return result

    async def hedged(
        self,
        call: Call,
        node: RankedNode,
        attempt: Callable[[Call, RankedNode], Awaitable[T]],
        *,
        path: str,
        body_bytes: int,
    ) -> T:
        """One attempt, with a second one beside it when the first is later than 95 % of its like.

        The first good answer is taken; the other attempt is cancelled.
        """
        work = work_of(node.node_id, path, call.model, body_bytes)
        self._hedges.earn()
        began_s = self._now_s()
        first = asyncio.ensure_future(self.once(call, node, attempt))
        try:
            done, _ = await asyncio.wait({first}, timeout=self._latencies.hedge_after_s(work))
            other = None if done or not self._hedges.ready() else self._idle_node(call)
            if other is not None and self._turns.take():
                self._hedges.spend()
                call.hedged = True
                try:
                    result = await _first_good(
                        first, asyncio.ensure_future(self._hedge(call, other, attempt))
                    )
                finally:
                    self._turns.give_back()
            else:
                result = await first
            # A first attempt that was overtaken counts with the time it had: it would have taken longer.
            self._latencies.learn(work, self._now_s() - began_s)
            return result
        finally:
            await ended(first)

    async def _hedge(
        self, call: Call, node: RankedNode, attempt: Callable[[Call, RankedNode], Awaitable[T]]
    ) -> T:
        """The second attempt; at another node where this one accepts no connection, since it did nothing."""
        try:
            return await self.once(call, node, attempt)
        except NodeUnreachableError as error:
            another = None if error.sent else self._idle_node(call)
            if another is None:
                raise
            return await self.once(call, another, attempt)

    def to_the_end(
        self, call: Call, node: RankedNode, items: AsyncGenerator[T], close: Callable[[], None]
    ) -> AsyncGenerator[T]:
        """The rest of an answer that has begun; a node that falls silent and answers no probe either is cut off.

        Args:
            call: whose answer it is.
            node: which node was asked.
            items: what it sends.
            close: ends its connection, which ends `items` with an error.
        """
        journey = call.journey or Journey(node)
        journey.streams = True
        return WatchedItems(
            items,
            seems_alive=partial(self._seems_alive, call, journey, node),
            close=close,
            failed=lambda error: self._failed(call, node, journey, error),
            over=partial(self._nearest.came_back, journey),
        )

    async def _watched(
        self,
        call: Call,
        journey: Journey,
        node: RankedNode,
        attempt: Callable[[Call, RankedNode], Awaitable[T]],
    ) -> T:
        now_s, nearest = self._now_s(), self._nearest
        task = asyncio.ensure_future(attempt(call, node))
        quiet_s = first_check_s(nearest.predicted_s(node, now_s, journey), nearest.rtt_ms(node, now_s))
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=quiet_s)
                if done:
                    return task.result()
                if not await self._lives(call, journey, node, task):
                    raise NodeSilentError(
                        f"node {journey.node_id or node.node_id} is silent, also when it is probed"
                    )
                quiet_s = next_check_s(quiet_s)
        finally:
            await ended(task)

    async def _lives(self, call: Call, journey: Journey, node: RankedNode, task: asyncio.Future[T]) -> bool:
        """Whether the node answers a probe, or what it was asked, whichever comes first."""
        probe = asyncio.ensure_future(self._seems_alive(call, journey, node))
        try:
            both: set[asyncio.Future[Any]] = {probe, task}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return task.done() or probe.result()
        finally:
            await ended(probe)

    async def _seems_alive(self, call: Call, journey: Journey, node: RankedNode) -> bool:
        """Whether who has the request answers a probe; meanwhile others are asked, should it not."""
        now_s = self._now_s()
        others = self._nearest.order(call.model, now_s, call.tried)
        self._prober.look_around(self._nearest.hopes(call.model, others, now_s, call.tried))
        return await self._prober.seems_alive(journey.node or node)

    def _idle_node(self, call: Call) -> RankedNode | None:
        """A node in good standing and not busy, other than those that have the request."""
        node = self._nearest.next_node(call.model, self._now_s(), call.tried)
        return node if node is not None and self._nearest.may_take_more(node, self._now_s()) else None

    def _failed(self, call: Call, node: RankedNode, journey: Journey, error: EdgewardError) -> None:
        """Remember an error of the node that the request had come to; one that handed it on works."""
        ejections, now_s = self._nearest.ejections, self._now_s()
        at_fault = journey.node_id
        if at_fault != node.node_id:
            self._nearest.answered(node.node_id, now_s)
        if not at_fault:
            return
        if isinstance(error, _BROKEN):
            if ejections.failed(at_fault, self._nearest.lists.known().keys(), now_s):
                self._replace_nodes(call.model)
            return
        self._nearest.answered(at_fault, now_s)
        if isinstance(error, _BUSY):
            self._nearest.busy(at_fault, now_s, error.retry_after_s)
        elif isinstance(error, _AWAY):
            self._nearest.busy(at_fault, now_s, _AWAY_S)


async def _first_good(first: asyncio.Future[T], second: asyncio.Future[T]) -> T:
    """The result of whichever succeeds first; when both fail, the second's error."""
    try:
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        if first.done() and first.exception() is None:
            return first.result()
        if second.done() and second.exception() is not None:
            return await first
        return await second
    finally:
        await ended(second)
