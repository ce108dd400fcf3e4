"""Single flight: one computation for everyone who asks the same at the same time.

A flight belongs to nobody: whoever joins gets every event from the first on, whoever leaves takes nothing with him,
and when the last one has left the computation is stopped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


class Computation(Protocol[E_co]):
    """Something that tells events until it ends, and must be closed whatever happens."""

    async def next_event(self) -> E_co | None:
        """The next event, or None at the end."""

    async def close(self) -> None:
        """Stop, if it goes on, and give back what it holds."""


class Flight(Generic[E]):
    """A computation under way with those who listen to it.

    Args:
        computation: what to do; it is closed by the flight.
        landed: called with every event when the computation has ended well, with None otherwise; at least once.
        passes: whether an event matters only until the next one comes; such events are not repeated.
        completes: whether an event is the last of a whole computation.
        name: what its answer is called, and when it was begun in Unix seconds.
    """

    def __init__(
        self,
        computation: Computation[E],
        *,
        landed: Callable[[Flight[E], tuple[E, ...] | None], None],
        passes: Callable[[E], bool],
        completes: Callable[[E], bool],
        name: tuple[str, int] = ("", 0),
    ) -> None:
        self.name = name
        self.events: list[E] = []
        self.passing: E | None = None
        self.passed_count = 0
        self.error: Exception | None = None
        self.ended = False
        self.more = asyncio.Event()
        self.listeners_count = 0
        self._computation = computation
        self._landed = landed
        self._passes = passes
        self._completes = completes
        self._begun = False
        self._task = asyncio.create_task(self._fly(), name="flight")

    def listen(self) -> Listener[E]:
        """Join; the listener must be closed."""
        return Listener(self)

    async def leave(self) -> None:
        """A listener is gone; with the last one the computation ends."""
        self.listeners_count -= 1
        if self.listeners_count or self._task.done():
            return
        if not self.ended:
            self._landed(self, None)  # nobody may join any more
        if self._begun and not self.ended:  # one that has not begun sees that it is not wanted, and closes
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _fly(self) -> None:
        self._begun = True
        try:
            while self.listeners_count and not self.ended:
                event = await self._computation.next_event()
                if event is None:
                    break
                self._tell(event)
        except Exception as error:  # noqa: BLE001  # whoever listens gets it; one of them logs what is no refusal
            self.error = error
        finally:
            if not self.ended:
                self.ended = True
                self._landed(self, None)
            try:
                await self._computation.close()
            finally:
                self._wake()

    def _tell(self, event: E) -> None:
        if self._passes(event):
            self.passing = event
            self.passed_count += 1
        else:
            self.events.append(event)
            if self._completes(event):
                # Before anyone hears of it: asked from here on, it is either kept or a new flight.
                self.ended = True
                self._landed(self, tuple(self.events))
        self._wake()

    def _wake(self) -> None:
        self.more.set()
        self.more = asyncio.Event()


class Listener(Generic[E]):
    """One who hears a flight's events, from the first; `name` is the flight's."""

    def __init__(self, flight: Flight[E]) -> None:
        self.name = flight.name
        self._flight = flight
        self._heard_count = 0
        self._passed_count = 0
        self._closed = False
        flight.listeners_count += 1

    async def next_event(self, *, passing: bool = False) -> E | None:
        """The next event, or None at the end; with `passing` also the latest of those that pass.

        Raises:
            EdgewardError: what ended the computation.
        """
        flight = self._flight
        while True:
            if self._heard_count < len(flight.events):
                self._heard_count += 1
                return flight.events[self._heard_count - 1]
            if flight.error is not None:
                raise flight.error.with_traceback(None)
            if flight.ended:
                return None
            if passing and self._passed_count < flight.passed_count:
                self._passed_count = flight.passed_count
                return flight.passing
            await flight.more.wait()

    async def close(self) -> None:
        """Leave the flight."""
        if not self._closed:
            self._closed = True
            await self._flight.leave()


class Flights(Generic[E]):
    """Flights by key, as long as they can be joined."""

    def __init__(self, *, passes: Callable[[E], bool], completes: Callable[[E], bool]) -> None:
        self._flights: dict[bytes, Flight[E]] = {}
        self._passes = passes
        self._completes = completes

    def join(self, key: bytes) -> Listener[E] | None:
        """Listen to the flight of this key, if there is one."""
        flight = self._flights.get(key)
        return flight.listen() if flight is not None else None

    def begin(
        self,
        key: bytes | None,
        computation: Computation[E],
        landed: Callable[[tuple[E, ...]], None] = lambda _: None,
        *,
        name: tuple[str, int] = ("", 0),
    ) -> Listener[E]:
        """Begin a flight, that others may join when it has a key; `landed` gets the events of a whole one."""

        def ended(flight: Flight[E], events: tuple[E, ...] | None) -> None:
            if key is not None and self._flights.get(key) is flight:
                del self._flights[key]
            if events is not None:
                landed(events)

        flight = Flight(computation, landed=ended, passes=self._passes, completes=self._completes, name=name)
        if key is not None:
            self._flights[key] = flight
        return flight.listen()
