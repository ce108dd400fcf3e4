"""One request, from choosing a node to its first byte; tried elsewhere, at most twice, if `retry` says so."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

from edge_node.api.stream_forms import STREAM_ENCODING
from edge_node.client.nearest import Nearest, RetryBudget, connect_timeout_s
from edge_node.client.payload import (
    decode_body,
    encode_body,
    error_in,
    error_of_status,
    read_body,
    reason_of,
)
from edge_node.errors import AnswerInvalidError, DrainingError, EngineFailedError, NodeUnreachableError
from origin.api import RouteAnswer, RouteQuery
from origin.errors import NoNodeAvailableError, OriginUnreachableError
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from edge_node.client.config import ClientConfig
    from origin.api import Place, RankedNode
    from origin.client import OriginClient

TIMEOUT_HEADER = "x-edgeward-timeout-ms"
RETRIES_COUNT = 2
PATIENCE_S = 5.0
"""The longest `Retry-After` that a client waits out, once, before it gives the error to its caller."""

_BROKEN = (NodeUnreachableError, AnswerInvalidError, EngineFailedError, DrainingError)
"""What sets a node aside. A full queue or a model that still loads is load, not failure."""

T = TypeVar("T")


@dataclass(slots=True)
class Call:
    """One request of the caller, over all of its attempts."""

    model: str
    started_s: float
    attempts_count: int = 0
    tried: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    waited: bool = False
    retried: bool = False


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
    ) -> None:
        self.now_s = now_s
        self.answer_limit_bytes = config.answer_limit_bytes
        self._sleep = sleep
        self._http = http
        self._origin = origin
        self._config = config
        self._place = place
        self._nearest = Nearest()
        self._budget = RetryBudget()
        self._refreshes: dict[str, asyncio.Task[RouteAnswer]] = {}

    async def close(self) -> None:
        """Stop asking the origin in the background."""
        tasks = list(self._refreshes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def route(self, model: str) -> RouteAnswer:
        """Ask the origin now, and remember what it says."""
        return await asyncio.shield(self._refresh(model))

    async def call(self, model: str, attempt: Callable[[Call, RankedNode], Awaitable[T]]) -> T:
        """Let `attempt` ask one node after the other until one answers.

        Raises:
            EdgewardError: the last node's error, or the origin's, when none is left to try.
        """
        call = Call(model, self.now_s())
        self._budget.begin()
        try:
            node = await self._first_node(call)
            while True:
                call.attempts_count += 1
                try:
                    result = await attempt(call, node)
                except EdgewardError as error:
                    node = await self._another_node(call, node, error)
                else:
                    self._nearest.succeeded(node.node_id)
                    return result
        finally:
            self._budget.end(retried=call.retried)

    @asynccontextmanager
    async def post(
        self, node: RankedNode, path: str, message: dict[str, Any] | tuple[bytes, dict[str, str]], accept: str
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send one request to one node; the response's head is read, and its status is 200.

        A message may be encoded already: its bytes, and the headers that describe them.

        The response is closed only when the block fails: who reads a stream closes it later.

        Raises:
            NodeUnreachableError: no connection, or silence.
            EdgewardError: what the node refused with.
        """
        data, headers = message if isinstance(message, tuple) else encode_body(message)
        # A node that cannot begin within that refuses at once, and another one is asked.
        headers = {**headers, TIMEOUT_HEADER: str(max(1, round(self._config.timeout_s * 1000)))}
        response = None
        try:
            response = await self._http.post(
                node.url.rstrip("/") + path,
                data=data,
                headers={**headers, "accept": accept, "accept-encoding": "zstd", STREAM_ENCODING: "zstd"},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._connect_s(node), sock_read=self._config.timeout_s
                ),
                auto_decompress=False,  # aiohttp needs one more package for zstd, and has no limit
                max_redirects=2,
            )
            await self._refuse_unless_ok(response)
            yield response
        except (aiohttp.ClientError, OSError) as error:
            _close(response)
            raise NodeUnreachableError(
                f"node {node.node_id} at {node.url} does not answer: {reason_of(error)}"
            ) from error
        except BaseException:
            _close(response)
            raise

    async def body_of(self, response: aiohttp.ClientResponse) -> Any:
        """The whole body of a response as plain dicts and lists."""
        return decode_body(await self.bytes_of(response), response.content_type)

    async def bytes_of(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body of a response, unpacked."""
        encoding = response.headers.get("content-encoding", "")
        return await read_body(response.content, encoding, self.answer_limit_bytes)

    async def _refuse_unless_ok(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 200:
            return
        try:
            error = error_in(await self.body_of(response), response.status, response.headers)
        except AnswerInvalidError:
            error = None
        raise error or error_of_status(response.status, response.headers)

    def _connect_s(self, node: RankedNode) -> float:
        # Without the client's place the origin's round trip is a guess.
        return connect_timeout_s(node.rtt_ms if self._place is not None else None)

    async def _first_node(self, call: Call) -> RankedNode:
        freshness = self._nearest.freshness(call.model, self.now_s())
        if freshness == "ageing":
            self._refresh(call.model)
        elif freshness != "fresh":
            try:
                await self._route_patiently(call)
            except OriginUnreachableError:
                # The origin is not on the data path: an old list is better than no answer.
                if freshness == "absent":
                    raise
        node = self._nearest.next_node(call.model, self.now_s())
        if node is None:
            self._nearest.expire(call.model)
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
        if isinstance(error, _BROKEN):
            self._nearest.failed(call.model, node.node_id, self.now_s())
        if error.retry == "never" or call.attempts_count > RETRIES_COUNT:
            raise error
        if not call.retried:
            call.retried = self._budget.take_retry()
            if not call.retried:
                raise error
        call.refusals.append(f"{node.node_id}: {error.message}")
        call.tried.append(node.node_id)
        if error.retry == "later":
            if not await self._waited(call, error):
                raise error
            return node
        found = self._nearest.next_node(call.model, self.now_s(), call.tried) or await self._beyond_list(call)
        if found is None and await self._waited(call, error):
            return node
        if found is None:
            raise error
        return found

    async def _beyond_list(self, call: Call) -> RankedNode | None:
        """A node that the list did not have: everything in it was tried, so it may be out of date."""
        self._nearest.expire(call.model)
        query = RouteQuery(model=call.model, place=self._place, exclude=tuple(call.tried))
        try:
            answer = await self._origin.route(query)
        except EdgewardError:
            return None  # the node's own error says more than that there is no other
        return next((node for node in answer.nodes if node.node_id not in call.tried), None)

    async def _waited(self, call: Call, error: EdgewardError) -> bool:
        if call.waited or error.retry_after_s is None or error.retry_after_s > PATIENCE_S:
            return False
        call.waited = True
        await self._sleep(error.retry_after_s)
        return True

    def _refresh(self, model: str) -> asyncio.Task[RouteAnswer]:
        """The request for a new list; there is one at a time for each model."""
        task = self._refreshes.get(model)
        if task is None:
            task = self._refreshes[model] = asyncio.ensure_future(self._ask_origin(model))
            task.add_done_callback(lambda done: self._refreshed(model, done))
        return task

    def _refreshed(self, model: str, task: asyncio.Task[RouteAnswer]) -> None:
        self._refreshes.pop(model, None)
        if not task.cancelled():
            task.exception()  # marks it as seen: in the background nobody waits for it

    async def _ask_origin(self, model: str) -> RouteAnswer:
        answer = await self._origin.route(RouteQuery(model=model, place=self._place))
        self._nearest.learn(model, answer, self.now_s())
        return answer


def _close(response: aiohttp.ClientResponse | None) -> None:
    if response is not None:
        response.close()
