"""Small questions to nodes beside the requests: how far they are, and whether a silent one still lives.

Probes go out after a new list only, over the connections that requests use, which so stay open; no request waits
for one. What they measure is reported to the origin, which learns from it how far its other clients are.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from typing import TYPE_CHECKING

import aiohttp

from edge_node.client.patience import check_timeout_s
from edge_node.client.silence import ended
from origin.api import RttReport
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edge_node.client.nearest import Nearest
    from origin.api import Peer, Place, RankedNode
    from origin.client import OriginClient

PROBE_PATH = "/healthz"
PROBE_TIMEOUT_S = 2.0
PROBES_COUNT = 2
REPORTS_PAUSED_S = 600.0
"""After an origin did not take a report."""
ALIVE_GOOD_FOR_S = 1.0
"""A node that answered so recently need not be asked again whether it lives."""
LOOKS_APART_S = 0.5


class Prober:
    """Probes nodes in the background; one round for each at a time."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        origin: OriginClient,
        nearest: Nearest,
        place: Place | None,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._origin = origin
        self._nearest = nearest
        self._place = place
        self._now_s = now_s
        self._rounds: set[asyncio.Task[None]] = set()
        self._report_from_s = float("-inf")
        self._alive_s: dict[str, float] = {}
        self._looked_s = float("-inf")

    def probe(self, nodes: Iterable[RankedNode | Peer]) -> None:
        """Measure the round trips to those that were not measured of late; returns at once."""
        due = self._nearest.round_trips.due(nodes, self._now_s())
        if due:
            # In a context of its own: what is measured for later calls is no part of this one's trace.
            task = asyncio.get_running_loop().create_task(self._round(due), context=Context())
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)

    async def seems_alive(self, node: RankedNode) -> bool:
        """Whether a node that has a request and is silent answers a probe.

        Where no probe to any node is answered they are blocked, and tell nothing: then it counts as alive.
        """
        timeout_s = check_timeout_s(self._nearest.rtt_ms(node, self._now_s()))
        if await self._ask(node, timeout_s) is not None:
            return True
        return not self._nearest.round_trips.probes_work(self._now_s())

    def look_around(self, nodes: Iterable[RankedNode]) -> None:
        """See which of these live, in case that the one that is asked now does not; returns at once."""
        if self._now_s() - self._looked_s < LOOKS_APART_S:
            return
        self._looked_s = self._now_s()
        for node in nodes:
            task = asyncio.ensure_future(self._look(node))
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)

    async def first_alive(
        self, nodes: Sequence[RankedNode], *, since_s: float = float("-inf")
    ) -> RankedNode | None:
        """The first that was seen to live since then, and in the last second, or else the first to answer a probe.

        None when none does, and where probes are blocked.
        """
        now_s = self._now_s()
        since_s = max(since_s, now_s - ALIVE_GOOD_FOR_S)
        for node in nodes:
            if self._alive_s.get(node.node_id, float("-inf")) >= since_s:
                return node
        if not self._nearest.round_trips.probes_work(now_s):
            return None
        asking = {
            asyncio.ensure_future(self._ask(node, check_timeout_s(self._nearest.rtt_ms(node, now_s)))): node
            for node in nodes
        }
        try:
            waiting = set(asking)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task.result() is not None:
                        return asking[task]
            return None
        finally:
            for task in asking:
                await ended(task)

    async def close(self) -> None:
        """End what is under way."""
        rounds = list(self._rounds)
        for task in rounds:
            task.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)

    async def _round(self, nodes: list[RankedNode | Peer]) -> None:
        await asyncio.gather(*(self._measure(node) for node in nodes))
        if self._now_s() < self._report_from_s:
            return
        probes = self._nearest.round_trips.take_report(self._now_s())
        if probes:
            try:
                await self._origin.report_rtts(RttReport(probes=probes, place=self._place))
            except EdgewardError:
                # It is away, or of an age that takes none: nobody here depends on it.
                self._report_from_s = self._now_s() + REPORTS_PAUSED_S

    async def _look(self, node: RankedNode) -> None:
        await self._ask(node, check_timeout_s(self._nearest.rtt_ms(node, self._now_s())))

    async def _measure(self, node: RankedNode | Peer) -> None:
        # The first one opens the connection, if there is none: it takes several round trips.
        if await self._ask(node, PROBE_TIMEOUT_S) is None:
            return
        took_s = [await self._ask(node, PROBE_TIMEOUT_S) for _ in range(PROBES_COUNT)]
        answered_s = [one_s for one_s in took_s if one_s is not None]
        if answered_s:
            self._nearest.round_trips.learn(
                node.node_id, min(answered_s) * 1000, len(answered_s), self._now_s()
            )

    async def _ask(self, node: RankedNode | Peer, timeout_s: float) -> float | None:
        """How long the node took to answer, whatever it said; None when it did not in time."""
        began_s = self._now_s()
        try:
            async with self._http.head(
                node.url.rstrip("/") + PROBE_PATH,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ):
                # From when it was asked: so long ago it lived for certain.
                self._alive_s[node.node_id] = max(began_s, self._alive_s.get(node.node_id, began_s))
                return self._now_s() - began_s
        except (aiohttp.ClientError, OSError, ValueError):
            return None
