"""Renewal: when, over what, and what happens while it fails."""

import asyncio
import time

import pytest

from edge_node.enrolment.joining import join
from edge_node.enrolment.membership import load_membership
from edge_node.enrolment.renewal import Renewal, renew_at_unix_s
from edge_node.supervisor import Clock
from origin.api import NodeReport
from origin.client import OriginClient
from origin.errors import NodeRevokedError, OriginUnreachableError

DAY_S = 86_400.0


class Sleeps:
    """A clock whose sleeps pass at once and are remembered."""

    def __init__(self, wall_clock):
        self.wall_clock, self.slept_s = wall_clock, []

    async def sleep(self, delay_s):
        self.slept_s.append(delay_s)
        self.wall_clock.ahead_s += delay_s
        await asyncio.sleep(0)

    @property
    def clock(self):
        return Clock(now_s=time.monotonic, sleep=self.sleep)


@pytest.fixture
async def member(fleet_origin, tmp_path, wall_clock):
    token = str(fleet_origin.token())
    membership = await join(tmp_path / "n", token, [fleet_origin.door_url], "a", now_unix_s=time.time())
    sleeps = Sleeps(wall_clock)
    renewal = Renewal(
        tmp_path / "n", membership, clock=sleeps.clock, now_unix_s=wall_clock, jitter=lambda: 0.5
    )
    async with OriginClient(fleet_origin.door_url, tls=renewal.tls) as origin:
        yield renewal, origin, sleeps


def report():
    return NodeReport(node_id="a", incarnation=1, url="http://127.0.0.1:1")


@pytest.mark.parametrize(("jitter", "at"), [(0, 1000 + 2000), (1, 1000 + 2300)])
def test_it_is_time_after_two_thirds_and_a_little_chance(jitter, at):
    assert renew_at_unix_s(1000, 4000, jitter) == pytest.approx(at)


async def test_the_next_request_shows_the_new_certificate_and_it_is_kept(
    member, fleet_origin, wall_clock, tmp_path
):
    renewal, origin, _ = member
    before = renewal.membership
    await origin.report(report())
    wall_clock.ahead_s = 0.8 * DAY_S
    assert await renewal.renew(origin)
    assert renewal.membership.certificate != before.certificate
    assert renewal.membership.key == before.key
    assert load_membership(tmp_path / "n") == renewal.membership
    wall_clock.ahead_s = 1.2 * DAY_S  # the first one has ended
    await origin.report(report())
    assert renewal.status().not_after_unix_s == pytest.approx(time.time() + 1.8 * DAY_S, abs=60)


async def test_it_renews_by_itself_for_weeks(member, wall_clock):
    renewal, origin, sleeps = member
    seen = {renewal.membership.certificate}
    renewing = asyncio.create_task(renewal.keep_renewed(origin))
    async with asyncio.timeout(30):
        while wall_clock.ahead_s < 5 * DAY_S:
            await asyncio.sleep(0)
            seen.add(renewal.membership.certificate)
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    assert len(seen) >= 6
    assert max(sleeps.slept_s) <= 60  # the wall clock may be set meanwhile
    assert renewal.problem == ""


async def test_after_weeks_in_the_dark_a_node_comes_back_by_itself(member, wall_clock):
    renewal, origin, _ = member
    wall_clock.ahead_s = 29 * DAY_S
    assert await renewal.renew(origin)
    await origin.report(report())


async def test_while_the_origin_is_away_it_tries_less_and_less_often(member, wall_clock, tmp_path):
    renewal, _, sleeps = member

    class Away:
        tries_count = 0

        async def renew(self, query):
            self.tries_count += 1
            raise OriginUnreachableError("away")

    away = Away()
    wall_clock.ahead_s = 0.9 * DAY_S
    renewing = asyncio.create_task(renewal.keep_renewed(away))
    async with asyncio.timeout(10):
        while away.tries_count < 12:  # noqa: ASYNC110  # its sleeps pass at once
            await asyncio.sleep(0)
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    assert sleeps.slept_s[0] < sleeps.slept_s[3] <= sleeps.slept_s[-1] <= 600
    assert renewal.status().problem == "away"
    assert load_membership(tmp_path / "n") == renewal.membership


async def test_a_revoked_node_says_so(member, fleet_origin):
    renewal, origin, _ = member
    fleet_origin.register.revoke_node("a", time.time())
    async with asyncio.timeout(10):
        while await renewal.renew(origin):  # noqa: ASYNC110  # the origin looks every 50 ms
            await asyncio.sleep(0.02)
    assert "was revoked" in renewal.problem
    with pytest.raises(NodeRevokedError):
        await origin.report(report())


async def test_a_certificate_for_another_key_is_not_taken(member, fleet_origin, machine):
    renewal, origin, _ = member
    good = await origin.authority()
    authority = fleet_origin.enrolment.door.authority

    class Confused:
        async def renew(self, query):
            from origin.api_enrolment import CertificateAnswer

            other = authority.certify_node(machine.key.public_key(), "a", time.time())
            return CertificateAnswer(
                node_id="a", fleet="fleet-test", certificate=other, certificates=good.certificates
            )

    before = renewal.membership
    assert not await renewal.renew(Confused())
    assert renewal.membership == before
