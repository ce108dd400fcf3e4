"""The behaviour of sharing within this process, in virtual time."""

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
