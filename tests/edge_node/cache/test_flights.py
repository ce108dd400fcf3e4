"""One computation for all who ask at the same time, however they come and go."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.cache.flights import Flights
from edge_node.errors import EngineFailedError


class Steps:
    """Tells events one by one as it is let; `None` breaks off, an exception is raised."""

    def __init__(self, *events):
        self.events = list(events)
        self.turn = asyncio.Semaphore(0)
        self.told_count = 0
        self.closed_count = 0

    async def next_event(self):
        await self.turn.acquire()
        event = self.events[self.told_count]
        self.told_count += 1
        if isinstance(event, Exception):
            raise event
        return event

    async def close(self):
        self.closed_count += 1

    def let(self, count=1):
        for _ in range(count):
            self.turn.release()


def new_flights():
    return Flights(passes=lambda event: event.startswith("~"), completes=lambda event: event == "end")


async def hear(listener, *, passing=False):
    heard = []
    while (event := await listener.next_event(passing=passing)) is not None:
        heard.append(event)
        if event == "end":
            break
    return heard


async def test_followers_hear_all_from_the_start_and_survive_the_leader():
    flights, steps, kept = new_flights(), Steps("a", "b", "end"), []
    leader = flights.begin(b"k", steps, kept.append)
    steps.let(2)
    assert [await leader.next_event(), await leader.next_event()] == ["a", "b"]
    follower = flights.join(b"k")
    await leader.close()
    steps.let()
    assert await hear(follower) == ["a", "b", "end"]
    assert kept == [("a", "b", "end")]
    assert flights.join(b"k") is None
    await follower.close()
    assert steps.closed_count == 1


async def test_the_last_one_to_leave_stops_it_and_nothing_is_kept():
    flights, steps, kept = new_flights(), Steps("a", "end"), []
    listeners = [flights.begin(b"k", steps, kept.append), flights.join(b"k")]
    steps.let()
    assert await listeners[1].next_event() == "a"
    await listeners[0].close()
    assert steps.closed_count == 0
    await listeners[1].close()
    assert (steps.closed_count, kept, flights.join(b"k")) == (1, [], None)


async def test_leaving_before_it_has_begun_closes_it_too():
    flights, steps = new_flights(), Steps("end")
    listener = flights.begin(b"k", steps)
    await listener.close()
    assert (steps.closed_count, steps.told_count) == (1, 0)


@pytest.mark.parametrize("end", [EngineFailedError("died"), RuntimeError("a bug"), None])
async def test_a_failure_is_everyones_and_never_kept(end):
    flights, steps, kept = new_flights(), Steps("a", end), []
    listeners = [flights.begin(b"k", steps, kept.append), flights.join(b"k")]
    steps.let(2)
    for listener in listeners:
        assert await listener.next_event() == "a"
        if end is None:
            assert await listener.next_event() is None
        else:
            with pytest.raises(type(end)):
                await listener.next_event()
        await listener.close()
    assert (steps.closed_count, kept, flights.join(b"k")) == (1, [], None)


async def test_passing_events_are_for_those_who_are_there_and_not_kept():
    flights, steps, kept = new_flights(), Steps("~1", "~2", "a", "end"), []
    listener, deaf = flights.begin(b"k", steps, kept.append), flights.join(b"k")
    steps.let(2)
    while steps.told_count < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert await listener.next_event(passing=True) == "~2"
    steps.let(2)
    assert await hear(deaf) == ["a", "end"]
    assert await hear(listener, passing=True) == ["a", "end"]
    assert kept == [("a", "end")]
    await listener.close()
    await deaf.close()


async def test_without_a_key_nobody_joins():
    flights, steps = new_flights(), Steps("end")
    listener = flights.begin(None, steps)
    assert flights.join(b"") is None
    steps.let()
    assert await hear(listener) == ["end"]
    await listener.close()


@given(
    st.lists(st.tuples(st.sampled_from(["join", "let", "leave", "yield"]), st.integers(0, 4)), max_size=40)
)
def test_whatever_the_order_everyone_hears_a_beginning_of_the_same(steps_taken):
    async def play():
        flights, steps, kept = new_flights(), Steps(*"abcdef", "end"), []
        listeners = [flights.begin(b"k", steps, kept.append)]
        heard = {listeners[0]: asyncio.ensure_future(hear(listeners[0]))}
        for step, which in steps_taken:
            if step == "join" and (joined := flights.join(b"k")) is not None:
                heard[joined] = asyncio.ensure_future(hear(joined))
                listeners.append(joined)
            elif step == "let":
                steps.let()
            elif step == "leave" and listeners:
                listener = listeners.pop(which % len(listeners))
                heard[listener].cancel()
                await listener.close()
            await asyncio.sleep(0)
        wanted = bool(listeners)
        steps.let(7)
        for listener in listeners:
            assert await heard[listener] == [*"abcdef", "end"]
            await listener.close()
        if not wanted and steps.told_count < 7:
            assert kept == []
        else:
            assert kept == [(*"abcdef", "end")]
        assert steps.closed_count == 1
        await asyncio.gather(*heard.values(), return_exceptions=True)

    asyncio.run(play())
