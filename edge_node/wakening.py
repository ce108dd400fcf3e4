"""Wakening: brings releases into memory, one after the other, and puts others to sleep when there is no room.

What has to go is decided in `residency`; here it is carried out. A release sleeps only when no request holds it, so
no answer is ever cut off for another model's sake.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from edge_node.residency import Prospect, foresee, free_bytes, make_room
from registry.works import first_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_node.berth import Berth
    from edge_node.reconcile import ReleaseKey
    from edge_node.residency import Occupant
    from edge_node.supervisor import Clock, Supervisor

log = structlog.get_logger()

_CLOSE_GRACE_S = 5.0


class Wakening:
    """The memory that all releases share.

    Args:
        berths: every release's place, by key; the runner's own, which changes.
        supervise: makes the supervisor of a berth's engine.
        limit_bytes: the budget; 0 is no limit.
    """

    def __init__(
        self,
        *,
        berths: Mapping[ReleaseKey, Berth],
        supervise: Callable[[Berth], Supervisor],
        clock: Clock,
        limit_bytes: int,
    ) -> None:
        self._berths = berths
        self._supervise = supervise
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    def fits_beside(self, berth: Berth) -> bool:
        """Whether a release fits into memory as it is, with nothing unloaded for it."""
        self._weigh()
        return not self._limit_bytes or berth.memory_bytes <= free_bytes(self._limit_bytes, self._occupants())

    def prospect(self, berth: Berth) -> Prospect:
        """What it takes until there is room for a release that is not in memory, or gives way."""
        if berth.open or berth.state == "loading":
            return Prospect()
        ahead = [
            it
            for it in self._berths.values()
            if it.waking is not None and it.supervisor is None and it is not berth
        ]
        return foresee(
            [it.memory_bytes for it in (*ahead, berth)],
            limit_bytes=self._limit_bytes,
            occupants=self._occupants(),
            now_s=self._clock.now_s(),
        )

    def freed(self) -> None:
        """A request has ended, or an engine: whoever waits for room looks again."""
        self._freed.set()

    def wake(self, berth: Berth, *, replaced: Berth | None = None) -> asyncio.Task[None]:
        """Bring a release into memory, if it is not on its way already; ends when its first load has, well or not.

        `replaced` is the release that this one follows: the first to go when there is not room for both.
        """
        if berth.waking is None:
            berth.waking = asyncio.create_task(self._wake(berth, replaced), name=f"wake {berth.label}")
            berth.waking.add_done_callback(lambda _: self._woken(berth))
        return berth.waking

    async def close(self) -> None:
        """Stop bringing releases in."""
        tasks = [berth.waking for berth in self._berths.values() if berth.waking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _woken(berth: Berth) -> None:
        berth.waking = None
        berth.move()

    async def _wake(self, berth: Berth, replaced: Berth | None) -> None:
        async with self._turn:  # two that come in at once must not both be given the same room
            if berth.supervisor is None:
                await self._make_room(berth, replaced)
                if berth.retirement is not None:
                    return
                berth.supervisor = self._supervise(berth)
                berth.loaded_at_s = berth.used_at_s = self._clock.now_s()
                berth.supervisor.start()
            berth.gives_way = False
            berth.move()
        await berth.supervisor.decided.wait()

    def _weigh(self) -> None:
        if self._limit_bytes:
            for berth in self._berths.values():
                berth.weigh()

    async def _make_room(self, berth: Berth, replaced: Berth | None) -> None:
        self._weigh()
        while berth.retirement is None:
            room = make_room(
                berth.memory_bytes,
                limit_bytes=self._limit_bytes,
                occupants=self._occupants(),
                now_s=self._clock.now_s(),
                replaced=replaced.key if replaced else None,
            )
            if room.fits:
                return
            self._freed.clear()
            for key in room.give_way:
                self._give_way(self._berths[key], berth)
            for key in room.evict:
                await self._put_to_sleep(self._berths[key], berth)
            if not room.evict:
                await self._until_freed(room.look_again_s)

    @staticmethod
    def _give_way(berth: Berth, comer: Berth) -> None:
        if not berth.gives_way:
            berth.gives_way = True
            log.info(
                "release.gave_way", release=berth.label, wanted=comer.label, leases_count=berth.leases_count
            )

    async def _put_to_sleep(self, berth: Berth, comer: Berth) -> None:
        supervisor, berth.supervisor = berth.supervisor, None
        berth.gives_way = False
        if supervisor is not None:
            await supervisor.close(_CLOSE_GRACE_S)
            log.info("release.slept", release=berth.label, wanted=comer.label, freed_bytes=berth.memory_bytes)
        berth.move()

    def _occupants(self) -> list[Occupant]:
        return [occupant for berth in self._berths.values() if (occupant := berth.occupant()) is not None]

    async def _until_freed(self, look_again_s: float | None) -> None:
        if look_again_s is None:
            await first_of(self._freed, None)
        else:
            await first_of(self._freed, self._clock.sleep(max(0.0, look_again_s - self._clock.now_s())))
