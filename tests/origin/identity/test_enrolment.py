"""The door over real TLS: joins, reports, renewals, revocations, and who is not let through."""

import asyncio
import ssl

import aiohttp
import pytest

from origin.api import NodeReport, RouteQuery
from origin.api_enrolment import JoinQuery, RenewQuery
from origin.client import OriginClient
from origin.errors import (
    CertificateExpiredError,
    CertificateUnfitError,
    EnrolmentOffError,
    NodeIdentityMismatchError,
    NodeNotEnrolledError,
    NodeRevokedError,
    OriginUnreachableError,
    OriginUntrustedError,
    TokenExpiredError,
    TokenInvalidError,
    TokenUsedError,
)
from origin.identity.authority import AuthorityDirectory
from origin.identity.standing import GRACE_S
from tests.fleet_origin import FleetOrigin, Machine

DAY_S = 86_400.0


def report(node_id="a", incarnation=1):
    # It may say of itself what it likes.
    return NodeReport(node_id=node_id, incarnation=incarnation, url="http://127.0.0.1:1", enrolled=True)


def context(origin, *pair, tmp_path=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata="".join(origin.enrolment.door.authority.pems))
    if pair:
        (tmp_path / "pair.pem").write_text("".join(pair))
        made.load_cert_chain(tmp_path / "pair.pem")
    return made


def caller(origin, *pair, tmp_path=None, url=None):
    made = context(origin, *pair, tmp_path=tmp_path)
    return OriginClient(url or origin.door_url, tls=lambda: made)


async def report_until_refused(client):
    async with asyncio.timeout(10):
        while True:
            await client.report(report())
            await asyncio.sleep(0.01)


async def join(origin, machine, node_id="a", **said):
    token = said.pop("token", None) or origin.token(**said)
    query = JoinQuery(token_id=token.token_id, secret=token.secret, node_id=node_id, request=machine.request)
    async with caller(origin) as client:
        return await client.join(query)


async def test_who_joined_reports_as_itself_alone(fleet_origin, machine, tmp_path):
    answer = await join(fleet_origin, machine, pool="gpu", region="eu")
    assert (answer.node_id, answer.fleet, answer.pool, answer.region) == ("a", "fleet-test", "gpu", "eu")
    async with caller(fleet_origin, machine.key_pem, answer.certificate, tmp_path=tmp_path) as client:
        assert (await client.report(report())).heartbeat_s > 0
        (view,) = (await client.nodes()).nodes
        assert (view.report.node_id, view.report.enrolled) == ("a", True)
        with pytest.raises(NodeIdentityMismatchError, match=r"of a .* of b"):
            await client.report(report("b"))


async def test_the_door_is_for_those_who_have_a_certificate_or_come_for_one(fleet_origin):
    async with caller(fleet_origin) as client:
        lists = [client.route(RouteQuery(model="chat")) for _ in range(2)]  # which clients get in a quick way
        for call in (client.report(report()), client.nodes(), client.catalog(), *lists):
            with pytest.raises(NodeNotEnrolledError):
                await call
        assert (await client.authority()).fleet == "fleet-test"


async def test_a_certificate_of_another_authority_does_not_pass(fleet_origin, machine, tmp_path):
    other = AuthorityDirectory(tmp_path / "other").open_or_begin(
        fresh_fleet="fleet-test", now_unix_s=fleet_origin.clock()
    )
    forged = other.certify_node(machine.key.public_key(), "a", fleet_origin.clock())
    async with caller(fleet_origin, machine.key_pem, forged, tmp_path=tmp_path) as client:
        with pytest.raises(OriginUnreachableError):
            await client.report(report())


async def test_a_node_cannot_pass_for_an_origin(fleet_origin, machine, tmp_path):
    answer = await join(fleet_origin, machine)
    (tmp_path / "pair.pem").write_text(machine.key_pem + answer.certificate)
    impostor = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    impostor.load_cert_chain(tmp_path / "pair.pem")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=impostor)
    port = server.sockets[0].getsockname()[1]
    async with server, caller(fleet_origin, url=f"https://127.0.0.1:{port}") as client:
        with pytest.raises(OriginUntrustedError, match="purpose"):
            await client.nodes()


async def test_secrets_are_not_heard_at_the_clients_port(fleet_origin, machine):
    token = fleet_origin.token()
    query = JoinQuery(token_id=token.token_id, secret=token.secret, node_id="a", request=machine.request)
    async with OriginClient(fleet_origin.url) as client:
        for call in (client.join(query), client.authority()):
            with pytest.raises(EnrolmentOffError):
                await call


async def test_used_expired_and_invented_tokens(fleet_origin, machine, wall_clock):
    token = fleet_origin.token(ttl_s=60)
    await join(fleet_origin, machine, token=token)
    assert (await join(fleet_origin, machine, token=token)).node_id == "a"  # its answer might have been lost
    with pytest.raises(TokenUsedError):
        await join(fleet_origin, Machine(), "b", token=token)
    with pytest.raises(TokenInvalidError):
        await join(fleet_origin, Machine(), "b", token=type(token)(token.token_id, "A" * 43, token.pin))
    late = fleet_origin.token(ttl_s=60)
    wall_clock.ahead_s = 61
    with pytest.raises(TokenExpiredError):
        await join(fleet_origin, Machine(), "b", token=late)


async def test_renewal_in_time_in_grace_and_too_late(fleet_origin, machine, wall_clock, tmp_path):
    answer = await join(fleet_origin, machine)
    query = RenewQuery(certificate=answer.certificate, request=machine.request)
    async with caller(fleet_origin, machine.key_pem, answer.certificate, tmp_path=tmp_path) as client:
        wall_clock.ahead_s = 0.7 * DAY_S
        assert (await client.renew(query)).certificate != answer.certificate
        wall_clock.ahead_s = 1.1 * DAY_S  # also over the same connection: time is judged at each request
        with pytest.raises(CertificateExpiredError, match="must be renewed"):
            await client.report(report())
        assert (await client.renew(query)).node_id == "a"
        wall_clock.ahead_s = 1.1 * DAY_S + GRACE_S
        with pytest.raises(CertificateExpiredError, match="join again"):
            await client.renew(query)


async def test_a_renewal_needs_the_key_and_a_certificate_of_the_fleet(fleet_origin, machine, tmp_path):
    answer = await join(fleet_origin, machine)
    stranger = Machine()
    other = AuthorityDirectory(tmp_path / "other").open_or_begin(
        fresh_fleet="fleet-test", now_unix_s=fleet_origin.clock()
    )
    forged = other.certify_node(stranger.key.public_key(), "a", fleet_origin.clock())
    async with caller(fleet_origin) as client:
        for query in (
            RenewQuery(certificate=answer.certificate, request=stranger.request),
            RenewQuery(certificate=forged, request=stranger.request),
            RenewQuery(certificate="", request=machine.request),
            RenewQuery(certificate=answer.certificate, request="-----BEGIN"),
        ):
            with pytest.raises(CertificateUnfitError):
                await client.renew(query)


async def test_nobody_renews_through_anothers_connection(fleet_origin, machine, tmp_path):
    mine, theirs = await join(fleet_origin, machine), await join(fleet_origin, other := Machine(), "b")
    query = RenewQuery(certificate=theirs.certificate, request=other.request)
    async with caller(fleet_origin, machine.key_pem, mine.certificate, tmp_path=tmp_path) as client:
        with pytest.raises(NodeIdentityMismatchError):
            await client.renew(query)


async def test_a_revoked_node_is_out_within_seconds_on_a_kept_connection(fleet_origin, machine, tmp_path):
    answer = await join(fleet_origin, machine)
    async with caller(fleet_origin, machine.key_pem, answer.certificate, tmp_path=tmp_path) as client:
        await client.report(report())
        fleet_origin.register.revoke_node("a", fleet_origin.clock())
        with pytest.raises(NodeRevokedError):
            await report_until_refused(client)
        with pytest.raises(NodeRevokedError):
            await client.renew(RenewQuery(certificate=answer.certificate, request=machine.request))
    with pytest.raises(NodeRevokedError, match="--again"):
        await join(fleet_origin, machine)
    assert (await join(fleet_origin, Machine())).node_id == "a"


async def test_a_restarted_origin_remembers_the_revoked_without_its_store(
    fleet_origin, machine, store, tmp_path
):
    await join(fleet_origin, machine)
    fleet_origin.register.revoke_node("a", fleet_origin.clock())
    async with asyncio.timeout(10):
        while not (tmp_path / "origin" / "revoked.json").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    again = FleetOrigin(tmp_path / "keys", tmp_path / "origin")  # another, empty store: as good as none
    assert [node_id for node_id, _ in again.enrolment._revoked.keys.values()] == ["a"]


async def test_unenrolled_ones_are_heard_on_loopback_but_not_under_a_name_that_showed_a_certificate(
    fleet_origin, machine, tmp_path
):
    async with OriginClient(fleet_origin.url) as plain:
        await plain.report(report())
        assert [view.report.enrolled for view in (await plain.nodes()).nodes] == [False]
        answer = await join(fleet_origin, machine)
        async with caller(fleet_origin, machine.key_pem, answer.certificate, tmp_path=tmp_path) as client:
            await client.report(report(incarnation=2))
        with pytest.raises(NodeNotEnrolledError):
            await plain.report(report(incarnation=3))
        assert [view.report.enrolled for view in (await plain.nodes()).nodes] == [True]


@pytest.mark.parametrize(("insecure", "heard"), [(False, False), (True, True)])
async def test_where_others_can_reach_it_an_origin_hears_enrolled_ones_alone(
    tmp_path, self_signed, insecure, heard
):
    certificate, key = self_signed("localhost")
    made = FleetOrigin(tmp_path / "keys", tmp_path / "origin")
    settings = {"host": "0.0.0.0", "insecure": insecure, "tls_cert_file": certificate, "tls_key_file": key}
    async with made.running(**settings) as origin:
        trusting = ssl.create_default_context(cafile=certificate)
        url = origin.url.replace("0.0.0.0", "localhost")
        async with OriginClient(url, tls=lambda: trusting) as client:
            if heard:
                await client.report(report())
            else:
                with pytest.raises(NodeNotEnrolledError, match="edgeward token create"):
                    await client.report(report())


async def test_the_authority_is_replaced_under_running_nodes(fleet_origin, machine, tmp_path):
    answer = await join(fleet_origin, machine)
    directory, enrolment = fleet_origin.directory, fleet_origin.enrolment
    directory.advance(fleet_origin.clock() + 1)
    enrolment._renew_door()
    query = RenewQuery(certificate=answer.certificate, request=machine.request)
    async with caller(fleet_origin, machine.key_pem, answer.certificate, tmp_path=tmp_path) as client:
        both = await client.renew(query)
        assert len(both.certificates) == 2
    directory.advance(fleet_origin.clock())
    enrolment._renew_door()
    async with caller(fleet_origin, machine.key_pem, both.certificate, tmp_path=tmp_path) as client:
        await client.report(report())  # signed by the old one, heard by a door of the new
        newest = await client.renew(RenewQuery(certificate=both.certificate, request=machine.request))
    directory.advance(fleet_origin.clock())
    enrolment._renew_door()
    async with caller(fleet_origin, machine.key_pem, newest.certificate, tmp_path=tmp_path) as client:
        await client.report(report())
    async with caller(fleet_origin, machine.key_pem, both.certificate, tmp_path=tmp_path) as client:
        with pytest.raises(OriginUnreachableError):
            await client.report(report())


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"token_id":"x"}', b"\xff" * 100,
     b'{"token_id":"0123456789ab","secret":"s","node_id":"../a","request":""}',
     b'{"token_id":"0123456789ab","secret":"s","node_id":"a","request":"x"}', b"{" * 70_000],
)  # fmt: skip
async def test_nonsense_is_refused_and_the_door_stays_open(fleet_origin, body):
    async with aiohttp.ClientSession() as http:
        for url in ("/v1/enrolment/join", "/v1/enrolment/renew"):
            async with http.post(
                fleet_origin.door_url + url, data=body, headers={"Content-Type": "application/json"},
                ssl=context(fleet_origin),
            ) as reply:  # fmt: skip
                assert reply.status in {400, 403, 413}
                assert (await reply.json())["error"]["code"] != "internal"
    async with caller(fleet_origin) as client:
        await client.authority()


async def test_plain_words_at_the_door_hurt_nobody(fleet_origin):
    host, _, port = fleet_origin.door_url.removeprefix("https://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    try:
        heard = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        heard = b""
    assert b"HTTP/1.1 200" not in heard
    writer.close()
    async with caller(fleet_origin) as client:
        await client.authority()


async def test_metrics_and_health_know_of_it(fleet_origin, machine):
    await join(fleet_origin, machine)
    async with aiohttp.ClientSession() as http:
        async with http.get(fleet_origin.url + "/metrics") as reply:
            text = await reply.text()
        async with http.get(fleet_origin.url + "/readyz") as reply:
            health = await reply.json()
    assert 'origin_enrolments_total{result="ok",verb="join"} 1.0' in text
    assert "origin_cert_not_after_timestamp_seconds 1." in text
    assert health["enrolment"] == {"open": True, "problem": ""}
