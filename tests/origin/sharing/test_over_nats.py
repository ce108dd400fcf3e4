"""The behaviour of sharing over a real NATS server, and what only a server of its own can do: die, hang, refuse."""

import asyncio

import pytest

from tests.origin.sharing.behaviour import *  # noqa: F403  # each test of it is one of this module
from tests.origin.sharing.conftest import NatsNet, World

pytestmark = pytest.mark.system


@pytest.fixture
async def world(tmp_path):
    world = World(NatsNet(tmp_path))
    yield world
    await world.stop()


async def test_a_server_that_is_killed_and_back_is_found_again(world, report, until):
    first, second = await world.pair()
    first.sharing.accept(report(number=1))
    await until(lambda: second.states() == {"paris": "up"}, 3)
    for round_number in range(2, 4):
        world.net.kill()
        await until(lambda: first.sharing.cut_off and second.sharing.cut_off, 5)
        assert "cannot be reached" in second.sharing.view().problem
        assert world.net.token not in second.sharing.view().problem
        await asyncio.sleep(3.5 * world.beat_s)
        assert second.states() == {"paris": "suspect"}  # held, not down
        world.net.start()
        await until(lambda: not first.sharing.cut_off and not second.sharing.cut_off, 15)
        first.sharing.accept(report(number=round_number))
        await until(lambda: second.states() == {"paris": "up"}, 5)
    assert [taken.number for taken in second.taken] == [1, 2, 3]  # each once
    third = await world.join("third")  # and the records are there again
    await until(lambda: third.standing() is not None, 10)


async def test_a_connection_that_goes_silent_is_given_up(world, report, until):
    """A route that drops packets closes nothing: only missing answers tell."""
    first, second = await world.pair()
    first.sharing.accept(report(number=1))
    await until(second.states, 3)
    world.net.pipes[second.bus].silent = True
    await until(lambda: second.sharing.cut_off, 6)
    assert second.standing().held
    for number in range(2, 300):
        second.sharing.accept(report("lyon", number=number))  # nowhere to send it, and nothing to pile up
    world.net.mend(second.bus)
    await until(lambda: not second.sharing.cut_off, 10)
    first.sharing.accept(report(number=2))
    await until(lambda: second.states()["paris"] == "up", 5)


async def test_two_fleets_on_one_server_do_not_hear_each_other(world, report, until):
    ours, theirs = await world.join("ours", fleet="ours"), await world.join("theirs", fleet="theirs")
    also_ours = await world.join("also-ours", fleet="ours")
    await until(lambda: ours.sharing.view().origins and not theirs.sharing.cut_off, 15)
    ours.sharing.accept(report("paris"))
    theirs.sharing.accept(report("lyon"))
    await until(lambda: also_ours.states() == {"paris": "up"}, 3)
    await asyncio.sleep(0.5)
    assert (ours.states(), theirs.states()) == ({"paris": "up"}, {"lyon": "up"})
    assert theirs.sharing.view().origins == ()
    late = await world.join("late", fleet="theirs")
    await until(lambda: set(late.states()) == {"lyon"}, 10)


async def test_a_wrong_token_is_named_and_tried_again(world, until):
    stranger = await world.join("stranger", token="wrong")
    await until(lambda: "Authorization" in stranger.sharing.view().problem, 10)
    assert "wrong" not in stranger.sharing.view().problem
    assert stranger.sharing.cut_off


async def test_without_jetstream_news_travel_and_that_is_said(tmp_path, report, until):
    net = NatsNet(tmp_path, jetstream=False)
    world = World(net)
    try:
        first, second = await world.pair()
        first.sharing.accept(report())
        await until(lambda: second.states() == {"paris": "up"}, 3)
        await until(lambda: "no records" in second.sharing.view().kept_problem, 15)
        assert second.sharing.view().connected
    finally:
        await world.stop()


async def test_an_older_start_never_overwrites_a_record(world, report, until):
    """Both origins write the same key; the last word is the node's, not the slower origin's."""
    first, second = await world.pair()
    await until(lambda: not (first.sharing.view().kept_problem or second.sharing.view().kept_problem), 15)
    second.sharing.accept(report(incarnation=7, number=1))
    await asyncio.sleep(0.3)
    await first.end()  # it would be told of the later start; alone it does not know
    lost = await world.join("lost", fleet="fleet")
    await until(lambda: lost.standing() is not None, 10)
    lost.fleet._members.clear()
    lost.sharing._keep(report(incarnation=6, number=99), 0.0)
    await asyncio.sleep(0.5)
    late = await world.join("late")
    await until(lambda: late.standing() is not None, 10)
    assert late.standing().report.incarnation == 7


async def test_connections_that_ended_leave_no_tasks_behind(world, until):
    first, second = await world.pair()
    await asyncio.sleep(0.5)
    before_count = len(asyncio.all_tasks())
    for _ in range(5):
        for member in (first, second):
            world.net.cut(member.bus)
        await until(lambda: first.sharing.cut_off and second.sharing.cut_off, 5)
        for member in (first, second):
            world.net.mend(member.bus)
        await until(lambda: not (first.sharing.cut_off or second.sharing.cut_off), 10)
    await asyncio.sleep(1.0)
    assert len(asyncio.all_tasks()) <= before_count + 4
