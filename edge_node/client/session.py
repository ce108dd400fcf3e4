"""One request, from choosing a node to its first byte; tried elsewhere, at most twice, if `retry` says so."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from edge_node.client.attempts import Attempts
from edge_node.client.call import Call
from edge_node.client.ejection import Ejections
from edge_node.client.nearest import HOPES_COUNT, Nearest
from edge_node.client.patience import CONNECT_LEAST_S, backoff_s
from edge_node.client.prober import Prober
from edge_node.client.renewal import EXCLUDED_MOST_COUNT, Renewal
from edge_node.client.sending import Sending
from edge_node.client.turns import Turns
from edge_node.errors import DeadlinePassedError, NodeSilentError, NodeUnreachableError
from origin.api import RouteQuery
from origin.errors import NoNodeAvailableError, OriginUnreachableError
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
    from contextlib import AbstractAsyncContextManager

    import aiohttp

    from edge_node.client.config import ClientConfig
    from origin.api import Place, RankedNode, RouteAnswer
    from origin.client import OriginClient

RETRIES_COUNT = 2
TRIED_MOST_COUNT = 10
"""So many nodes are tried at most, those included that accept no connection and so did nothing."""
PATIENCE_S = 5.0
"""The longest `Retry-After` that a client waits out, once, before it gives the error to its caller."""
STALE_WAIT_S = 0.25
"""How long a request waits for a new list when the one there is old, as after a pause without requests."""

BEYOND_WAIT_S = 2.0
"""How long a request waits for the origin to name other nodes when all that were known have failed."""

T = TypeVar("T")


class Session:
    """Finds nodes for requests and sends them; shared by all calls of one client."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        origin: OriginClient,
        config: ClientConfig,
        place: Place | None,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.now_s = now_s
        self.answer_limit_bytes = config.answer_limit_bytes
        self._sleep = sleep
        self._chance = chance
        self._origin = origin
        self._config = config
        self._place = place
        self._nearest = Nearest(Ejections(chance))
        self._turns = Turns()
        self._sending = Sending(http, config, self._nearest, self._now)
        self._prober = Prober(http, origin, self._nearest, place, now_s=self._now)
        self._renewal = Renewal(
            origin,
            self._nearest,
            self._prober,
            place,
            idle_after_s=config.idle_after_s,
            now_s=self._now,
            chance=chance,
        )
        self._attempts = Attempts(
            self._nearest,
            self._prober,
            self._turns,
            replace_nodes=self._renewal.replace,
            now_s=self._now,
        )

    def _now(self) -> float:
        return self.now_s()

    async def close(self) -> None:
        """Stop asking the origin and nodes in the background."""
        await self._renewal.close()
        await self._prober.close()

    async def route(self, model: str) -> RouteAnswer:
        """Ask the origin now, and remember what it says."""
        return await asyncio.shield(self._renewal.begin(model))

    async def call(
        self,
        model: str,
        attempt: Callable[[Call, RankedNode], Awaitable[T]],
        *,
        hedge: tuple[str, int] | None = None,
        avoid: Collection[str] = (),
    ) -> T:
        """Let `attempt` ask one node after the other until one answers.

        Args:
            model: what is asked for.
            attempt: sends the request to one node; its result is the call's.
            hedge: the path and the body's bytes of short work that may be done twice: it may be hedged.
            avoid: ids of nodes that are not asked.

        Raises:
            DeadlinePassedError: no node had begun to answer within `deadline_s`.
            EdgewardError: the last node's error, or the origin's, when none is left to try.
        """
        started_s = self.now_s()
        call = Call(model, started_s, started_s + self._config.deadline_s, tried=list(avoid))
        self._turns.begin()
        limit = asyncio.timeout(self._config.deadline_s)
        try:
            async with limit:
                return await self._until_answered(call, attempt, hedge)
        except TimeoutError as error:
            if not limit.expired():
                raise
            said = f"; {call.refusals[-1]}" if call.refusals else ""
            raise DeadlinePassedError(
                f"no node began to answer within {self._config.deadline_s:g} s{said}"
            ) from error
        finally:
            self._turns.end()
            if call.permitted:
                self._turns.give_back()

    def post(
        self,
        node: RankedNode,
        path: str,
        message: dict[str, Any] | tuple[bytes, dict[str, str]],
        accept: str,
        *,
        call: Call | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send one request to one node; see `Sending.post`."""
        if call is None:
            return self._sending.post(node, path, message, accept)
        now_s = self.now_s()
        return self._sending.post(
            node,
            path,
            message,
            accept,
            journey=call.journey,
            patience_s=max(0.001, call.deadline_s - now_s),
            # With it a second try's node might hand the request on to the one that failed it.
            ticket=self._nearest.ticket(call.model, node, now_s) if len(call.tried) == 1 else "",
        )

    def watched(
        self, call: Call, node: RankedNode, items: AsyncGenerator[T], close: Callable[[], None]
    ) -> AsyncGenerator[T]:
        """The rest of an answer that has begun; see `Attempts.to_the_end`."""
        return self._attempts.to_the_end(call, node, items, close)

    async def body_of(self, response: aiohttp.ClientResponse) -> Any:
        """The whole body of a response as plain dicts and lists."""
        return await self._sending.body_of(response)

    async def bytes_of(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body of a response, unpacked."""
        return await self._sending.bytes_of(response)

    async def _until_answered(
        self,
        call: Call,
        attempt: Callable[[Call, RankedNode], Awaitable[T]],
        hedge: tuple[str, int] | None,
    ) -> T:
        node = await self._first_node(call)
        while True:
            try:
                if hedge is not None and call.attempts_count == 0:
                    return await self._attempts.hedged(
                        call, node, attempt, path=hedge[0], body_bytes=hedge[1]
                    )
                return await self._attempts.once(call, node, attempt)
            except EdgewardError as error:
                node = await self._another_node(call, node, error)

    async def _first_node(self, call: Call) -> RankedNode:
        lists = self._nearest.lists
        freshness = lists.freshness(call.model, self.now_s())
        lists.used(call.model, self.now_s())
        if freshness == "absent":
            await self._route_patiently(call)
        elif freshness != "fresh":
            waits = freshness == "stale" and not self._renewal.asks(call.model)
            asked = self._renewal.begin(call.model)
            if waits:
                # The origin is not on the data path: an old list is better than no answer.
                await asyncio.wait({asked}, timeout=STALE_WAIT_S)
        left = self._nearest.order(call.model, self.now_s(), call.tried)
        # What has been tried is a stream that broke: its reader waits in the middle of a word.
        node = await self._next_node(call, left, doubtful=bool(call.tried))
        if node is None and call.tried:
            silent = left[:HOPES_COUNT]
            node = await self._beyond_list(call, silent) or await self._former_node(call)
            node = node or next(iter(left), None)
        elif node is not None and not self._nearest.has_room(node, self.now_s()):
            self._renewal.replace(call.model)
        if node is None:
            lists.expire(call.model)
            raise NoNodeAvailableError(
                f"no node can answer for {call.model!r} now; try again in a few seconds"
            )
        return node

    async def _route_patiently(self, call: Call) -> None:
        try:
            await self.route(call.model)
        except EdgewardError as error:
            if error.retry != "later" or not await self._waited(call, error):
                raise
            await self.route(call.model)

    async def _another_node(self, call: Call, node: RankedNode, error: EdgewardError) -> RankedNode:
        """The node to try next after this error; raises it when it must not or cannot be tried again."""
        if error.retry == "never":
            raise error
        await self._permit(call, error)
        if error.retry == "later":
            if not await self._waited(call, error):
                raise error
            return node
        left = self._nearest.order(
            call.model, self.now_s(), call.tried, last=call.retries_count == RETRIES_COUNT
        )
        # After one that hung, as what refuses a connection does not, or after two: there may be more.
        doubtful = isinstance(error, NodeUnreachableError) and (
            isinstance(error, NodeSilentError)
            or len(call.tried) > 1
            or self.now_s() - call.started_s >= CONNECT_LEAST_S
        )
        found = await self._next_node(call, left, doubtful=doubtful, since_s=call.started_s)
        # One that has shown that it lives is better than to wait for an origin.
        poor = found is not None and not doubtful and not self._nearest.may_take_more(found, self.now_s())
        if found is None or (poor and self._renewal.may_replace(call.model)):
            silent = left[:HOPES_COUNT] if found is None else []
            found = await self._beyond_list(call, silent) or found or await self._former_node(call)
            found = found or next(iter(left), None)
        if found is None and await self._waited(call, error):
            return node
        if found is None:
            raise error
        await self._sleep(backoff_s(call.retries_count, self._chance))
        return found

    async def _next_node(
        self, call: Call, left: list[RankedNode], *, doubtful: bool, since_s: float = float("-inf")
    ) -> RankedNode | None:
        """The best of the nodes left; where it is doubtful that it lives, the first that showed it since, or shows it.

        None when there is none, or when all of them were asked and none shows it.
        """
        now_s = self.now_s()
        if left and doubtful and self._nearest.round_trips.probes_work(now_s):
            hopes = self._nearest.hopes(call.model, left, now_s, call.tried)
            alive = await self._prober.first_alive(hopes, since_s=since_s)
            return alive or next(iter(left[HOPES_COUNT:]), None)
        return next(iter(left), None)

    async def _permit(self, call: Call, error: EdgewardError) -> None:
        """Wait until the call may be tried again; raises the error when it was tried often enough."""
        if isinstance(error, NodeUnreachableError):
            # Whatever a node that is gone was doing has ended: nothing is done twice, and no turn is needed.
            if error.sent:
                call.retries_count += 1
            if call.retries_count > RETRIES_COUNT or len(call.tried) > TRIED_MOST_COUNT:
                raise error
            return
        call.retries_count += 1
        if call.retries_count > RETRIES_COUNT:
            raise error
        if not call.permitted:
            await self._turns.wait()
            call.permitted = True

    async def _beyond_list(self, call: Call, silent: Sequence[RankedNode] = ()) -> RankedNode | None:
        """A node that the list does not have, when none in it is left that would do.

        Nodes that were asked whether they live and did not say so leave no other hope: then an origin that has just
        failed is asked, too.
        """
        if not silent and self._nearest.lists.pausing(call.model, self.now_s()):
            return None
        unfit = self._nearest.unfit(call.model, self.now_s())
        names = tuple(dict.fromkeys([*call.tried, *(node.node_id for node in silent), *sorted(unfit)]))
        query = RouteQuery(model=call.model, place=self._place, exclude=names[:EXCLUDED_MOST_COUNT])
        self._nearest.lists.expire(call.model)
        try:
            async with asyncio.timeout(BEYOND_WAIT_S):
                answer = await self._origin.route(query)
        except (OriginUnreachableError, TimeoutError):
            self._nearest.lists.refused(call.model, self.now_s(), self._chance)
            return None
        except EdgewardError:
            return None  # the node's own error says more than that there is no other
        return next((node for node in answer.nodes if node.node_id not in call.tried), None)

    async def _former_node(self, call: Call) -> RankedNode | None:
        """A node of an earlier list that shows that it lives: the last hope where no origin answers."""
        former = [node for node in self._nearest.lists.former(call.model) if node.node_id not in call.tried]
        return await self._prober.first_alive(former) if former else None

    async def _waited(self, call: Call, error: EdgewardError) -> bool:
        if call.waited or error.retry_after_s is None or error.retry_after_s > PATIENCE_S:
            return False
        call.waited = True
        await self._sleep(error.retry_after_s)
        return True
