"""Joining by a role on AWS, over real TLS, against an STS that checks signatures: and who must not get in."""

import asyncio
import ssl

import aiohttp
import msgspec
import pytest
from aiohttp import web

from edge_node.enrolment.aws_signing import AwsCredentials, prove
from origin.api import NodeReport
from origin.api_aws import AwsJoinQuery
from origin.client import OriginClient
from origin.errors import (
    ChallengeInvalidError,
    ClockSkewError,
    EnrolmentOffError,
    NodeIdTakenError,
    NodeRevokedError,
    ProofRefusedError,
    ProofUncheckedError,
)
from origin.identity.aws_desk import AwsDesk
from origin.identity.certificates import key_digest
from origin.identity.sts import ANSWER_LIMIT_BYTES, Sts
from registry.errors import InputInvalidError
from registry.wire import to_msgpack
from tests.aws_stand_in import ANSWER, CALLER, INSTANCE, KEYS, REFUSAL, ROLE, StandInSts
from tests.fleet_origin import FleetOrigin, Machine

CREDENTIALS = AwsCredentials(KEYS.access, KEYS.secret, KEYS.token)
OTHER = "i-0fedcba9876543210"


@pytest.fixture
async def sts(wall_clock):
    async with StandInSts(wall_clock).running() as running:
        yield running


@pytest.fixture
async def origin(tmp_path, wall_clock, sts):
    desk = AwsDesk([ROLE], Sts(sts.url, patience_s=3))
    made = FleetOrigin(tmp_path / "keys", tmp_path / "origin", clock=wall_clock, aws=desk)
    async with made.running() as running:
        yield running


def caller(origin):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata="".join(origin.enrolment.door.authority.pems))
    return OriginClient(origin.door_url, tls=lambda: made)


async def query(origin, machine, **said):
    """What an instance asks; `said` changes what it signs, and `after_*` what it then sends."""
    after = {name.removeprefix("after_"): said.pop(name) for name in list(said) if name.startswith("after_")}
    challenge = said.pop("challenge", None)
    if challenge is None:
        async with caller(origin) as client:
            challenge = (await client.challenge()).challenge
    pin = said.pop("pin", origin.enrolment.door.authority.pin)
    proof = prove(
        said.pop("credentials", CREDENTIALS),
        said.pop("region", "eu-central-1"),
        pin=pin,
        challenge=challenge,
        key_sha256=said.pop("key_sha256", key_digest(machine.key.public_key())),
        now_unix_s=said.pop("now_unix_s", origin.clock()),
    )
    asked = AwsJoinQuery(
        challenge=challenge,
        pin=pin,
        node_id=said.pop("node_id", INSTANCE),
        request=machine.request,
        proof=proof,
    )
    assert not said
    return msgspec.structs.replace(asked, **after)


async def join(origin, machine, **said):
    asked = await query(origin, machine, **said)
    async with caller(origin) as client:
        return await client.join_by_role(asked)


async def test_an_instance_of_the_role_is_in_under_its_own_name(origin, machine, sts, tmp_path):
    answer = await join(origin, machine)
    assert (answer.node_id, answer.fleet) == (INSTANCE, "fleet-test")
    assert (await asyncio.to_thread(origin.register.node, INSTANCE)).caller_arn == CALLER
    (method, path, headers, body), *others = sts.heard
    assert (method, path, body, others) == ("POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15", [])
    assert headers["Host"] == "sts.eu-central-1.amazonaws.com"
    (tmp_path / "pair.pem").write_text(machine.key_pem + answer.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata="".join(answer.certificates))
    context.load_cert_chain(tmp_path / "pair.pem")
    async with OriginClient(origin.door_url, tls=lambda: context) as client:
        report = NodeReport(node_id=INSTANCE, incarnation=1, url="https://203.0.113.7:443")
        assert (await client.report(report)).heartbeat_s > 0


async def test_an_answer_that_was_lost_can_be_had_again_by_the_same_key_alone(origin, machine):
    await join(origin, machine)
    assert (await join(origin, machine)).node_id == INSTANCE
    with pytest.raises(NodeIdTakenError):
        await join(origin, Machine())


async def test_a_proof_is_good_once(origin, machine, sts):
    asked = await query(origin, machine)
    async with caller(origin) as client:
        await client.join_by_role(asked)
        with pytest.raises(ChallengeInvalidError, match="used before"):
            await client.join_by_role(asked)
    assert len(sts.heard) == 1  # AWS is not asked again


async def test_of_fifty_that_race_with_one_proof_one_is_heard(origin, machine, sts):
    asked = await query(origin, machine)
    async with caller(origin) as client:
        said = await asyncio.gather(*(client.join_by_role(asked) for _ in range(50)), return_exceptions=True)
    assert sum(not isinstance(it, Exception) for it in said) == 1
    assert {type(it) for it in said if isinstance(it, Exception)} <= {
        ChallengeInvalidError,
        ProofUncheckedError,
    }
    assert len(sts.heard) == 1


async def test_a_proof_that_was_overheard_gives_no_certificate_for_another_key(origin, machine, sts):
    asked = await query(origin, machine)
    thief = msgspec.structs.replace(asked, request=Machine().request)
    async with caller(origin) as client:
        with pytest.raises(ProofRefusedError, match="SignatureDoesNotMatch"):
            await client.join_by_role(thief)


async def test_a_proof_for_another_fleet_or_another_origin(origin, machine, sts, tmp_path):
    with pytest.raises(ProofRefusedError, match="another fleet"):
        await join(origin, machine, pin="A" * 43)
    with pytest.raises(
        ProofRefusedError, match="SignatureDoesNotMatch"
    ):  # and what was signed cannot be renamed
        await join(origin, machine, pin="A" * 43, after_pin=origin.enrolment.door.authority.pin)
    desk = AwsDesk([ROLE], Sts(sts.url))
    elsewhere = FleetOrigin(tmp_path / "keys", tmp_path / "origin2", aws=desk)  # the same fleet
    async with elsewhere.running():
        given = (await query(elsewhere, machine)).challenge
    with pytest.raises(ChallengeInvalidError, match="gave no such"):
        await join(origin, machine, challenge=given)


async def test_a_challenge_that_was_not_signed(origin, machine):
    other = (await query(origin, machine)).challenge
    with pytest.raises(ProofRefusedError, match="SignatureDoesNotMatch"):
        await join(origin, machine, after_challenge=other)


async def test_a_challenge_that_is_too_old(origin, machine, wall_clock):
    asked = await query(origin, machine)
    wall_clock.ahead_s = 61
    async with caller(origin) as client:
        with pytest.raises(ChallengeInvalidError, match="60 s"):
            await client.join_by_role(asked)


@pytest.mark.parametrize(
    "arn",
    [
        CALLER.replace("edgeward-node/", "other-role/"),
        CALLER.replace("123456789012", "210987654321"),
        CALLER.replace(INSTANCE, "alice"),
        "arn:aws:iam::123456789012:user/edgeward-node",
    ],
)
async def test_another_role_another_account_and_people(origin, machine, sts, arn):
    sts.callers = {KEYS.access: (KEYS.secret, KEYS.token, arn)}
    with pytest.raises(ProofRefusedError):
        await join(origin, machine)
    assert await asyncio.to_thread(origin.register.node, INSTANCE) is None


async def test_an_instance_cannot_take_anothers_name(origin, machine):
    with pytest.raises(ProofRefusedError, match=OTHER):
        await join(origin, machine, node_id=OTHER)


@pytest.mark.parametrize("lost", ["secret", "token", "access"])
async def test_credentials_that_are_not_amazons(origin, machine, lost):
    said = {"secret": KEYS.secret, "token": KEYS.token, "access": KEYS.access} | {
        lost: "ASIAZZZZZZZZZZZZZZZZ"
    }
    wrong = AwsCredentials(said["access"], said["secret"], said["token"])
    with pytest.raises(ProofRefusedError, match="AWS refuses"):
        await join(origin, machine, credentials=wrong)


async def test_clocks_that_are_apart(origin, machine, wall_clock, sts):
    for ahead_s in (-330, 330):
        with pytest.raises(ClockSkewError):
            await join(origin, machine, now_unix_s=origin.clock() + ahead_s)
    assert sts.heard == []
    assert (await join(origin, machine, now_unix_s=origin.clock() - 240)).node_id == INSTANCE


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("region", "evil.example/"), ("region", "eu-central-1.evil.example"), ("region", "eu-central-1#"),
        ("region", "x@evil"), ("region", "eu-central-1\r\nX: y"), ("region", "eu-central-1\n"), ("region", ""),
        ("region", "eu-a" * 20 + "-1"), ("region", "localhost:80"), ("session_token", "x\r\nX-Injected: y"),
        ("session_token", "x y"), ("session_token", "A" * 9000), ("access_key_id", "ASIA, Credential=other"),
        ("signature", "0" * 63), ("signature", "0" * 64 + "\n"), ("signed_at", "20261123T092301Z\n"),
        ("url", "https://evil.example"), ("body", "Action=Other"), ("headers", {"host": "evil.example"}),
    ],
)  # fmt: skip
async def test_a_proof_cannot_say_where_or_how_it_is_checked(origin, machine, sts, field, text):
    asked = msgspec.to_builtins(await query(origin, machine))
    wrong = asked | {"proof": asked["proof"] | {field: text}}
    async with caller(origin) as client:
        with pytest.raises(InputInvalidError):
            await client._call("POST", "/v1/enrolment/join-aws", to_msgpack(wrong))
        await client._call("POST", "/v1/enrolment/join-aws", to_msgpack(asked))  # it was that alone
    assert len(sts.heard) == 1


async def test_what_is_no_moment_is_no_accident(origin, machine):
    asked = await query(origin, machine)
    odd = msgspec.structs.replace(
        asked, proof=msgspec.structs.replace(asked.proof, signed_at="20269999T999999Z")
    )
    async with caller(origin) as client:
        with pytest.raises(Exception, match="no moment"):
            await client.join_by_role(odd)


async def _redirect(request):
    raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/")


async def _endless(request):
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(2 * ANSWER_LIMIT_BYTES // 1024):
        await answer.write(b"x" * 1024)
    return answer


async def _slow(request):
    await asyncio.sleep(60)


def _says(text, status=200):
    async def answer(request):
        return web.Response(text=text, status=status, content_type="text/xml")

    return answer


GOOD = ANSWER.format(CALLER)
NAMESPACE = ' xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'


@pytest.mark.parametrize(
    "answer",
    [
        _redirect, _endless, _slow, _says(""), _says("{}"), _says("<html/>"), _says(GOOD, status=500),
        _says(GOOD, status=201), _says(GOOD.replace(NAMESPACE, "")), _says(GOOD[:-20]),
        _says('<!DOCTYPE x [<!ENTITY a "b">]>' + GOOD), _says(GOOD.replace("<UserId>", f"<Arn>{CALLER}</Arn><UserId>")),
        _says(GOOD.replace("GetCallerIdentity", "AssumeRole")), _says(REFUSAL.format("Throttling"), status=400),
        _says("forbidden", status=403),
    ],
)  # fmt: skip
async def test_whatever_else_answers_as_sts_lets_nobody_in(origin, machine, sts, answer):
    sts.answer = answer
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(ProofUncheckedError):
        await join(origin, machine)
    assert asyncio.get_running_loop().time() - began_s < 15
    assert await asyncio.to_thread(origin.register.node, INSTANCE) is None
    sts.answer = None
    assert (await join(origin, machine)).node_id == INSTANCE  # by another challenge


async def test_an_sts_that_nobody_reaches(tmp_path, wall_clock, machine, unused_tcp_port):
    desk = AwsDesk([ROLE], Sts(f"http://127.0.0.1:{unused_tcp_port}"))
    made = FleetOrigin(tmp_path / "keys", tmp_path / "origin", clock=wall_clock, aws=desk)
    async with made.running():
        with pytest.raises(ProofUncheckedError, match="can this origin reach it"):
            await join(made, machine)


async def test_strangers_cannot_have_sts_asked_without_bound(origin, machine):
    asked = [await query(origin, machine) for _ in range(40)]
    answered, asked_count = asyncio.Event(), 0

    class HangingSts:
        async def caller(self, proof, headers):
            nonlocal asked_count
            asked_count += 1
            await answered.wait()
            return CALLER

    desk = AwsDesk([ROLE], HangingSts())
    desk._challenges = origin.enrolment._aws._challenges
    checks = [asyncio.ensure_future(desk.check(it, "0" * 64, [it.pin], origin.clock())) for it in asked]
    await asyncio.sleep(0)
    assert asked_count == 16
    answered.set()
    said = await asyncio.gather(*checks, return_exceptions=True)
    assert said[:16] == [CALLER] * 16
    assert {type(it) for it in said[16:]} == {ProofUncheckedError}
    # A challenge that was not looked at is good still.
    assert await desk.check(asked[39], "0" * 64, [asked[39].pin], origin.clock()) == CALLER


async def test_one_that_was_turned_out_does_not_come_back_by_its_role(origin, machine):
    await join(origin, machine)
    await asyncio.to_thread(origin.register.revoke_node, INSTANCE, origin.clock())
    for key in (machine, Machine()):
        with pytest.raises(NodeRevokedError):
            await join(origin, key)


async def test_where_no_role_is_named_there_is_no_challenge(fleet_origin, machine):
    async with caller(fleet_origin) as client:
        with pytest.raises(ProofRefusedError, match="admitted_aws_roles"):
            await client.challenge()
    with pytest.raises(ProofRefusedError, match="admitted_aws_roles"):
        await join(fleet_origin, machine, challenge="A" * 75)


async def test_proofs_are_not_heard_at_the_clients_port(origin, machine):
    asked = await query(origin, machine)
    async with OriginClient(origin.url) as client:
        for call in (client.challenge(), client.join_by_role(asked)):
            with pytest.raises(EnrolmentOffError):
                await call


async def test_while_the_authority_is_replaced_both_pins_count(origin, machine):
    old = origin.enrolment.door.authority.pin
    for _ in range(2):
        await asyncio.to_thread(origin.directory.advance, origin.clock())
    await asyncio.to_thread(origin.enrolment._renew_door)
    assert origin.enrolment.door.authority.pin != old
    assert (await join(origin, machine, pin=old)).node_id == INSTANCE


async def test_amazons_own_host_is_asked_and_must_prove_itself(self_signed, monkeypatch, wall_clock):
    """Where settings name no endpoint, the region's is asked over TLS that is checked."""
    from origin.api_aws import proof_headers, sts_host

    assert sts_host("eu-central-1") == "sts.eu-central-1.amazonaws.com"
    assert sts_host("cn-north-1") == "sts.cn-north-1.amazonaws.com.cn"
    certificate, key = self_signed("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    proof = prove(CREDENTIALS, "eu-central-1", pin="A" * 43, challenge="B" * 75, key_sha256="c", now_unix_s=0)
    headers = proof_headers(
        region="eu-central-1", signed_at=proof.signed_at, session_token=KEYS.token, pin="A" * 43, challenge="B" * 75,
        key_sha256="c",
    )  # fmt: skip
    async with server:
        with pytest.raises(ProofUncheckedError, match="Certificate"):
            await Sts(f"https://localhost:{port}").caller(proof, headers)


async def test_metrics_count_them(origin, machine):
    await join(origin, machine)
    with pytest.raises(ProofRefusedError):
        await join(origin, machine, node_id=OTHER)
    async with aiohttp.ClientSession() as http, http.get(origin.url + "/metrics") as reply:
        text = await reply.text()
    assert 'origin_enrolments_total{result="ok",verb="join_aws"} 1.0' in text
    assert 'origin_enrolments_total{result="enrolment.proof_refused",verb="join_aws"} 1.0' in text
