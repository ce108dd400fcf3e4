"""The behaviour of sharing within this process, in virtual time."""

import asyncio

import pytest

from tests.origin.sharing.behaviour import *  # noqa: F403  # each test of it is one of this module
from tests.origin.sharing.conftest import InProcessNet, World


@pytest.fixture
async def world():
    world = World(InProcessNet())
    yield world
    await world.stop()


async def test_alone_an_origin_tells_nobody_and_is_never_cut_off(report, now_s):
    from origin.sharing.in_process import InProcessBus
    from tests.origin.sharing.conftest import Member, rules_of

    alone = Member(InProcessBus(), "alone", rules_of(1.0))
    alone.sharing.accept(report())
    alone.fleet.note_routed("paris", ("chat", "1"), now_s())
    assert alone.states() == {"paris": "up"}
    assert (alone.sharing.view(), alone.sharing.origin_urls(), alone.sharing.cut_off) == (None, (), False)
    await alone.end()


async def test_what_breaks_in_telling_ends_it_and_is_raised(world, monkeypatch):
    first, second = await world.pair()

    def broken(heard):
        raise ZeroDivisionError

    monkeypatch.setattr(first.fleet, "hear_origins", broken)
    first.sharing._wake.set()
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(first.task, 5)
    assert first.sharing.cut_off  # and nothing of it still runs
    assert second.sharing.origin_urls() == ("http://second.example",)  # it said goodbye


async def test_a_goodbye_that_breaks_leaves_nothing_running(world, monkeypatch):
    first, _ = await world.pair()
    monkeypatch.setattr(first.sharing, "_goodbye", lambda: 1 / 0)
    first.task.cancel()
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(first.task, 5)
    assert first.sharing.cut_off
