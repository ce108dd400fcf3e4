"""Joining over real TLS: nobody but the origin that the token pins hears a byte of its secret."""

import asyncio
import ssl
import stat
import time

import pytest
from structlog.testing import capture_logs

from edge_node.config import NodeConfig
from edge_node.enrolment.joining import enrolled, join, origin_urls
from edge_node.enrolment.membership import context_of, load_membership
from edge_node.errors import WrongPinError
from origin.api import NodeReport
from origin.client import OriginClient
from origin.errors import (
    ClockSkewError,
    NodeIdTakenError,
    OriginUnreachableError,
    OriginUntrustedError,
    TokenUsedError,
)
from registry.errors import ConfigError, InputInvalidError
from tests.fleet_origin import FleetOrigin


class ManInTheMiddle:
    """Ends TLS with a certificate of its own and passes on what it reads; `heard` has every byte in the clear.

    `shown` answers the first question with an authority of its choice, if it is given.
    """

    def __init__(self, context, upstream_url):
        self.context, self.heard = context, bytearray()
        self._host, _, self._port = upstream_url.removeprefix("https://").partition(":")

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        on_reader, on_writer = await asyncio.open_connection(self._host, int(self._port), ssl=trusting)
        await asyncio.gather(
            self._pass(reader, on_writer, self.heard), self._pass(on_reader, writer, bytearray())
        )

    async def _pass(self, reader, writer, heard):
        try:
            while piece := await reader.read(65536):
                heard += piece
                writer.write(piece)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


def server_context(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


async def test_a_node_joins_keeps_its_key_to_itself_and_reports(fleet_origin, tmp_path):
    token = fleet_origin.token(pool="gpu", region="eu")
    made = await join(tmp_path / "n", str(token), [fleet_origin.door_url], "fra-1", now_unix_s=time.time())
    assert (made.node_id, made.fleet, made.pool, made.region) == ("fra-1", "fleet-test", "gpu", "eu")
    assert load_membership(tmp_path / "n") == made
    assert not (tmp_path / "n" / "joining.key").exists()
    context = context_of(tmp_path / "n", made)
    for file in (tmp_path / "n").iterdir():
        if b"PRIVATE" in file.read_bytes():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    async with OriginClient(made.origins, tls=lambda: context) as client:
        await client.report(NodeReport(node_id="fra-1", incarnation=1, url="http://127.0.0.1:1"))
        assert [view.report.enrolled for view in (await client.nodes()).nodes] == [True]


async def test_a_man_in_the_middle_with_another_authority_hears_no_secret(fleet_origin, tmp_path):
    other = FleetOrigin(tmp_path / "other-keys", tmp_path / "other")
    token = fleet_origin.token()
    async with other.running(), ManInTheMiddle(other.enrolment.door.context, other.door_url) as middle:
        with pytest.raises(WrongPinError, match="was told no secret"):
            await join(tmp_path / "n", str(token), [middle.url], "a", now_unix_s=time.time())
        assert b"/v1/enrolment/authority" in middle.heard
        assert token.secret.encode() not in middle.heard
        assert b"/join" not in middle.heard
    assert not (tmp_path / "n").exists()  # nothing was made
    await join(
        tmp_path / "n", str(token), [fleet_origin.door_url], "a", now_unix_s=time.time()
    )  # and not spent


async def test_nor_does_one_that_shows_the_true_authority(fleet_origin, self_signed, tmp_path):
    token = fleet_origin.token()
    pair = self_signed("origin.example")
    async with ManInTheMiddle(server_context(pair), fleet_origin.door_url) as middle:
        with pytest.raises(OriginUntrustedError, match="does not prove"):
            await join(tmp_path / "n", str(token), [middle.url], "a", now_unix_s=time.time())
        assert b"/v1/enrolment/authority" in middle.heard
        assert token.secret.encode() not in middle.heard
        assert b"/join" not in middle.heard


async def test_nor_does_a_node_of_the_same_fleet(fleet_origin, tmp_path):
    await join(
        tmp_path / "bad", str(fleet_origin.token()), [fleet_origin.door_url], "bad", now_unix_s=time.time()
    )
    context_of(tmp_path / "bad", load_membership(tmp_path / "bad"))
    token = fleet_origin.token()
    impostor = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    impostor.load_cert_chain(tmp_path / "bad" / "node.pem")
    async with ManInTheMiddle(impostor, fleet_origin.door_url) as middle:
        with pytest.raises(OriginUntrustedError, match="purpose"):
            await join(tmp_path / "n", str(token), [middle.url], "a", now_unix_s=time.time())
        assert token.secret.encode() not in middle.heard


async def test_a_lost_answer_can_be_asked_for_again(fleet_origin, tmp_path, monkeypatch):
    token = str(fleet_origin.token())
    genuine = OriginClient.join

    async def lost(self, query):
        await genuine(self, query)
        raise OriginUnreachableError("the line was cut")

    with monkeypatch.context() as patched:
        patched.setattr(OriginClient, "join", lost)
        with pytest.raises(OriginUnreachableError):
            await join(tmp_path, token, [fleet_origin.door_url], "a", now_unix_s=time.time())
    assert (await join(tmp_path, token, [fleet_origin.door_url], "a", now_unix_s=time.time())).node_id == "a"
    with pytest.raises(TokenUsedError):
        await join(tmp_path / "other", token, [fleet_origin.door_url], "b", now_unix_s=time.time())


@pytest.mark.parametrize("ahead_s", [-301, 301, 1e6])
async def test_clocks_that_are_apart_are_both_said_and_nothing_is_spent(fleet_origin, tmp_path, ahead_s):
    token = str(fleet_origin.token())
    with pytest.raises(ClockSkewError) as refused:
        await join(tmp_path, token, [fleet_origin.door_url], "a", now_unix_s=time.time() + ahead_s)
    assert refused.value.message.count("UTC") == 2
    await join(tmp_path, token, [fleet_origin.door_url], "a", now_unix_s=time.time() + 200)


async def test_joining_again_makes_another_key_and_must_be_said(fleet_origin, tmp_path):
    async def again(**said):
        token = str(fleet_origin.token())
        return await join(tmp_path, token, [fleet_origin.door_url], "a", now_unix_s=time.time(), **said)

    first = await again()
    with pytest.raises(ConfigError, match="--again"):
        await again()
    with pytest.raises(NodeIdTakenError):
        await again(again=True)
    assert load_membership(tmp_path) == first  # still good
    fleet_origin.register.revoke_node("a", time.time())
    assert (await again(again=True)).key != first.key


async def test_wrong_words(fleet_origin, tmp_path, unused_tcp_port):
    token = str(fleet_origin.token())
    for text, url, kind in (
        ("nonsense", fleet_origin.door_url, InputInvalidError),
        (token, fleet_origin.url, ConfigError),
        (token, fleet_origin.url.replace("http:", "https:"), OriginUnreachableError),
        (token, f"https://127.0.0.1:{unused_tcp_port}", OriginUnreachableError),
    ):
        with pytest.raises(kind) as refused:
            await join(tmp_path, text, [url], "a", now_unix_s=time.time())
        assert token not in refused.value.message


def test_a_damaged_membership_is_said(tmp_path):
    for damage in (b"", b"{}", b"\xff"):
        (tmp_path / "enrolment.json").write_bytes(damage)
        with pytest.raises(ConfigError, match="join again"):
            load_membership(tmp_path)


async def test_a_node_that_starts_with_a_token_waits_for_its_origin(fleet_origin, tmp_path, unused_tcp_port):
    made = FleetOrigin(tmp_path / "late-keys", tmp_path / "late")
    config = NodeConfig(
        data_dir=tmp_path / "n",
        origin=(f"https://127.0.0.1:{unused_tcp_port}",),
        join_token=str(made.token()),
    )
    assert config.join_token not in repr(config)
    starting = asyncio.create_task(enrolled(config, fresh_id="fresh-1", now_unix_s=time.time))
    await asyncio.sleep(0.05)
    assert not starting.done()
    async with made.running(nodes_port=unused_tcp_port):
        kept = await asyncio.wait_for(starting, 10)
    assert (kept.node_id, (tmp_path / "n" / "node.id").read_text()) == ("fresh-1", "fresh-1\n")
    # Later the token does not matter, and the origin may be away.
    assert await enrolled(config, fresh_id="fresh-2", now_unix_s=time.time) == kept
    other = NodeConfig(data_dir=tmp_path / "n", node_id="other")
    with pytest.raises(ConfigError, match="fresh-1"):
        await enrolled(other, fresh_id="x", now_unix_s=time.time)
    assert origin_urls(NodeConfig(), kept) == config.origin
    assert origin_urls(NodeConfig(origin=("http://a", "https://b.example:7743")), kept) == (
        "https://b.example:7743",
    )
    assert origin_urls(NodeConfig(), None) == ("http://127.0.0.1:7700",)


async def test_a_node_without_a_token_is_not_enrolled(tmp_path):
    assert await enrolled(NodeConfig(data_dir=tmp_path), fresh_id="x", now_unix_s=time.time) is None


@pytest.mark.parametrize(
    ("origin", "events"), [("https://a:7743", ["joining.missed"]), ("http://a:7700", [])]
)
async def test_a_node_that_cannot_get_in_says_what_it_lacks(tmp_path, origin, events):
    config = NodeConfig(data_dir=tmp_path, origin=(origin,))
    with capture_logs() as said:
        assert await enrolled(config, fresh_id="x", now_unix_s=time.time) is None
    assert [it["event"] for it in said] == events
    assert all("token create" in it["reason"] for it in said)
