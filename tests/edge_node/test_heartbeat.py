from __future__ import annotations

import asyncio

import pytest

from edge_node.heartbeat import Heartbeat
from edge_node.supervisor import Clock
from origin.api import Directive, NodeReport
from origin.errors import OriginUnreachableError


@pytest.fixture
def heartbeat(scripted_origin, virtual_clock):
    heard = []
    heartbeat = Heartbeat(
        origin=scripted_origin,
        compose=lambda: NodeReport(node_id="a", incarnation=1, url="http://127.0.0.1:1"),
        heard=heard.append,
        clock=Clock(now_s=virtual_clock.now_s, sleep=virtual_clock.sleep),
        jitter=lambda: 0.5,
    )
    heartbeat.heard_directives = heard
    return heartbeat


@pytest.fixture
async def running(heartbeat):
    task = asyncio.create_task(heartbeat.run())
    yield heartbeat
    task.cancel()
    await asyncio.wait([task])


async def test_the_origins_word_is_handed_on(heartbeat, scripted_origin):
    assert (heartbeat.origin_up, heartbeat.age_s()) == (False, None)
    assert await heartbeat.beat()
    assert heartbeat.heard_directives == [scripted_origin.directive]
    assert (heartbeat.origin_up, heartbeat.age_s()) == (True, 0.0)


async def test_it_reports_at_the_origins_period(running, scripted_origin, virtual_clock, let_go_on):
    scripted_origin.directive = Directive(wanted=None, heartbeat_s=2.0)
    await let_go_on()
    for _ in range(3):
        await virtual_clock.advance(2.0)
    assert len(scripted_origin.reports) == 4
    assert virtual_clock.pauses_s[1:] == [2.0] * 3


@pytest.mark.parametrize(("asked_s", "kept_s"), [(0.0, 0.05), (86400.0, 60.0)])
async def test_an_absurd_period_is_bounded(
    running, scripted_origin, virtual_clock, let_go_on, asked_s, kept_s
):
    scripted_origin.directive = Directive(wanted=None, heartbeat_s=asked_s)
    await let_go_on()
    await virtual_clock.advance(1.0)
    assert virtual_clock.pauses_s[-1] == kept_s


async def test_while_the_origin_is_away_it_is_asked_less_often_and_then_as_before(
    running, scripted_origin, virtual_clock, let_go_on
):
    await let_go_on()
    scripted_origin.failure = OriginUnreachableError("nobody answers")
    for pause_s in (1.0, 1.0, 2.0, 4.0, 5.0):
        await virtual_clock.advance(pause_s)
    assert virtual_clock.pauses_s == [1.0, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert not running.origin_up
    assert running.age_s() == 13.0
    scripted_origin.failure = None
    await virtual_clock.advance(5.0)
    assert running.origin_up
    assert virtual_clock.pauses_s[-1] == 1.0


async def test_a_defect_does_not_silence_the_node(running, scripted_origin, virtual_clock, let_go_on):
    await let_go_on()
    scripted_origin.failure = ZeroDivisionError("a defect")
    await virtual_clock.advance(1.0)
    assert not running.origin_up
    scripted_origin.failure = None
    await virtual_clock.advance(1.0)
    assert running.origin_up
