"""Keeps the ranked lists new in the background as long as there are requests, and asks the origin for first ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from origin.api import RouteQuery
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_node.client.nearest import Nearest
    from edge_node.client.prober import Prober
    from origin.api import Place, RouteAnswer
    from origin.client import OriginClient

REPLACEMENTS_APART_S = 0.25
EXCLUDED_MOST_COUNT = 32
"""More than a client knows of nodes that are of no use now."""


class Renewal:
    """Asks the origin for lists: one question a model at a time; a client that is idle asks nothing."""

    def __init__(
        self,
        origin: OriginClient,
        nearest: Nearest,
        prober: Prober,
        place: Place | None,
        *,
        idle_after_s: float,
        now_s: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._origin = origin
        self._nearest = nearest
        self._prober = prober
        self._place = place
        self._idle_after_s = idle_after_s
        self._now_s = now_s
        self._chance = chance
        self._asking: dict[str, asyncio.Task[RouteAnswer]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._replaced_s: dict[str, float] = {}
        self._closed = False

    def begin(self, model: str) -> asyncio.Task[RouteAnswer]:
        """The question for a new list; it goes on when whoever waits for it gives up."""
        task = self._asking.get(model)
        if task is None:
            task = self._asking[model] = asyncio.ensure_future(self._ask(model))
            task.add_done_callback(lambda done: self._asked(model, done))
        return task

    def replace(self, model: str) -> None:
        """Ask for other nodes in place of those that fail or are busy, but not time and again."""
        if self.may_replace(model):
            self._replaced_s[model] = self._now_s()
            self.begin(model)

    def may_replace(self, model: str) -> bool:
        """Whether the origin has neither been asked for other nodes just now nor failed to answer."""
        now_s = self._now_s()
        long_ago = now_s - self._replaced_s.get(model, float("-inf")) >= REPLACEMENTS_APART_S
        return long_ago and not self._nearest.lists.pausing(model, now_s)

    def asks(self, model: str) -> bool:
        """Whether the origin is being asked now."""
        return model in self._asking

    async def close(self) -> None:
        """Ask no more."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, model: str) -> RouteAnswer:
        unfit = sorted(self._nearest.unfit(model, self._now_s()))
        query = RouteQuery(model=model, place=self._place, exclude=tuple(unfit[:EXCLUDED_MOST_COUNT]))
        try:
            answer = await self._origin.route(query)
        except EdgewardError:
            self._nearest.lists.refused(model, self._now_s(), self._chance)
            raise
        answer = self._nearest.learn(model, answer, self._now_s())
        self._prober.probe((*answer.nodes, *answer.probes))
        return answer

    def _asked(self, model: str, task: asyncio.Task[RouteAnswer]) -> None:
        self._asking.pop(model, None)
        if not task.cancelled():
            task.exception()  # marks it as seen: in the background nobody waits for it
        self.schedule(model)

    def schedule(self, model: str) -> None:
        """Renew the list when its time comes, unless nobody uses it by then."""
        timer = self._timers.pop(model, None)
        if timer is not None:
            timer.cancel()
        in_s = self._nearest.lists.renewal_in_s(model, self._now_s(), self._idle_after_s)
        if in_s is not None and not self._closed:
            self._timers[model] = asyncio.get_running_loop().call_later(in_s, self._due, model)

    def _due(self, model: str) -> None:
        self._timers.pop(model, None)
        in_s = self._nearest.lists.renewal_in_s(model, self._now_s(), self._idle_after_s)
        if in_s is None:
            return  # idle: the next request asks again
        if in_s > 0:
            self.schedule(model)
        else:
            self.begin(model)
