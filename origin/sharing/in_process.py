"""InProcessBus: one origin alone, and several in one process where that is wanted (tests, simulations)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from origin.sharing.bus import BusStanding, Kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from origin.sharing.bus import Member


class Hub:
    """What buses of one process share: who is on it, and the records.

    Args:
        now_s: the clock that records age by.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self.members: dict[InProcessBus, Member] = {}
        self.records: dict[str, tuple[bytes, float]] = {}

    def remembered(self) -> tuple[Kept, ...]:
        """Every record with its age."""
        now_s = self.now_s()
        return tuple(Kept(key, data, now_s - at_s) for key, (data, at_s) in self.records.items())


class InProcessBus:
    """A bus within one process; without a hub to share, an origin is alone on it."""

    def __init__(self, hub: Hub | None = None) -> None:
        self.alone = hub is None
        self._hub = hub
        self._reachable = asyncio.Event()
        self._reachable.set()

    @property
    def standing(self) -> BusStanding:
        """Connected while it runs and is not cut."""
        if self._hub is None or self in self._hub.members:
            return BusStanding(connected=True)
        return BusStanding(connected=False, problem="the hub is out of reach")

    def cut(self) -> None:
        """Take this member off, as a broken network would."""
        self._reachable.clear()
        if self._hub is not None:
            self._hub.members.pop(self, None)

    def mend(self) -> None:
        """Let it connect again."""
        self._reachable.set()

    def tell(self, data: bytes) -> bool:
        """Give it to every other member at once."""
        if self._hub is None or self not in self._hub.members:
            return False
        for bus, member in list(self._hub.members.items()):
            if bus is not self:
                member.heard(data)
        return True

    def keep(self, key: str, data: bytes, outdated: Callable[[bytes], bool]) -> None:
        """Write a record, unless what is there is newer."""
        if self._hub is None or self not in self._hub.members:
            return
        stored = self._hub.records.get(key)
        if stored is None or outdated(stored[0]):
            self._hub.records[key] = (data, self._hub.now_s())

    async def run(self, member: Member) -> None:
        """Be on the hub until cancelled."""
        try:
            while True:
                await self._reachable.wait()
                if self._hub is not None:
                    self._hub.members[self] = member
                    member.joined()
                    member.remembered(self._hub.remembered())
                while self._reachable.is_set():  # noqa: ASYNC110  # cut and mended by hand alone
                    await asyncio.sleep(3600 if self._hub is None else 0.01)
        finally:
            if self._hub is not None:
                self._hub.members.pop(self, None)
