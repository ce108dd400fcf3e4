"""Origins over NATS servers that are secured, or several: who is let in and believed, and what is said where not."""

import asyncio
import itertools
import socket

import pytest

from origin.sharing.config import SharingConfig
from origin.sharing.over_nats import NatsBus
from registry.errors import ConfigError
from tests.origin.sharing.conftest import Member, rules_of
from tests.origin.sharing.secured_nats import (
    Operator,
    Servers,
    cluster_settings,
    free_ports,
    plain_settings,
    tls_settings,
)

pytestmark = pytest.mark.system

BEAT_S = 0.4
WAIT_S = 60


@pytest.fixture
def servers(tmp_path):
    made = Servers(tmp_path)
    yield made
    made.stop()


@pytest.fixture
async def join():
    """Makes an origin that shares by these settings."""
    members = []

    def join(name, **how):
        bus = NatsBus(SharingConfig(**how), forget_after_s=3600, jitter=lambda: 0.5)
        members.append(Member(bus, name, rules_of(BEAT_S)))
        return members[-1]

    yield join
    for member in members:
        await member.end()


async def heard(first, second, report, until):
    """What is reported to one is known to the other."""
    await until(lambda: all(m.sharing.view().origins for m in (first, second)), WAIT_S)
    first.sharing.accept(report())
    await until(lambda: second.states() == {"paris": "up"}, WAIT_S)


async def refused(member, words, until):
    await until(lambda: words in member.sharing.view().problem, WAIT_S)
    assert member.sharing.cut_off
    assert member.sharing.view().origins == ()


class TestCredentials:
    async def test_users_of_the_account_are_let_in_and_records_are_kept(
        self, tmp_path, servers, join, report, until
    ):
        (port,), operator = free_ports(1), Operator()
        servers.start("n", operator.settings(port, tmp_path))
        how = [
            {"servers": (f"nats://127.0.0.1:{port}",), "creds": operator.credentials(tmp_path / f"{n}.creds")}
            for n in range(3)
        ]
        first, second = join("first", **how[0]), join("second", **how[1])
        await heard(first, second, report, until)
        await until(lambda: not first.sharing.view().kept_problem, WAIT_S)
        first.sharing.accept(report(number=1, incarnation=2))
        late = join("late", **how[2])
        await until(late.states, WAIT_S)

    async def test_another_operator_s_user_is_refused_and_the_setting_named(
        self, tmp_path, servers, join, until
    ):
        (port,) = free_ports(1)
        servers.start("n", Operator().settings(port, tmp_path))
        stranger = Operator().credentials(tmp_path / "stranger.creds")
        member = join("stranger", servers=(f"nats://127.0.0.1:{port}",), creds=stranger)
        await refused(member, "refuses what sharing.creds or sharing.token says", until)
        seed = stranger.read_text().splitlines()[-2]
        assert seed not in member.sharing.view().problem

    @pytest.mark.parametrize("kept", ["", "JWT", "SEED", "BROKEN"])
    def test_a_file_that_is_no_credentials_is_refused_at_the_start(self, tmp_path, kept):
        file = Operator().credentials(tmp_path / "x.creds")
        lines = file.read_text().splitlines()
        texts = {"": [], "JWT": lines[:3], "SEED": lines[4:], "BROKEN": [*lines[:5], "SUNONSENSE", lines[6]]}
        file.write_text("\n".join(texts[kept]))
        config = SharingConfig(servers=("nats://a:4222",), creds=file)
        with pytest.raises(ConfigError, match=r"sharing\.creds: .*x\.creds") as caught:
            NatsBus(config, forget_after_s=60, jitter=lambda: 0.5)
        assert "SUNONSENSE" not in str(caught.value)


class TestTls:
    async def test_a_server_whose_authority_is_named_is_believed(
        self, servers, join, report, until, self_signed
    ):
        (port,), (certificate, key) = free_ports(1), self_signed("localhost")
        servers.start("n", tls_settings(port, certificate, key))
        how = {"servers": (f"tls://localhost:{port}",), "tls_ca": certificate}
        await heard(join("first", **how), join("second", **how), report, until)

    async def test_another_authority_s_is_not_and_the_setting_is_named(
        self, servers, join, until, self_signed
    ):
        (port,), (certificate, key) = free_ports(1), self_signed("localhost")
        other, _ = self_signed("localhost", "other")
        servers.start("n", tls_settings(port, certificate, key))
        for how in ({"tls_ca": other}, {}):
            member = join("first", servers=(f"tls://localhost:{port}",), **how)
            await refused(member, "sharing.tls_ca", until)
            assert "not trusted" in member.sharing.view().problem

    async def test_a_certificate_for_another_host_is_not(self, servers, join, until, self_signed):
        (port,), (certificate, key) = free_ports(1), self_signed("nats.example")
        servers.start("n", tls_settings(port, certificate, key))
        member = join("first", servers=(f"tls://localhost:{port}",), tls_ca=certificate)
        await refused(member, "not valid for 'localhost'", until)

    @pytest.mark.parametrize("scheme", ["tls", "nats"])
    async def test_a_token_is_never_sent_without_the_tls_that_was_asked_for(
        self, join, until, self_signed, scheme
    ):
        """Whoever stands between can say that the server wants no TLS."""
        certificate, _ = self_signed("localhost")
        said = bytearray()

        async def without_tls(reader, writer):
            writer.write(
                b'INFO {"server_id":"N","version":"2.15.1","max_payload":1048576,"auth_required":true}\r\n'
            )
            said.extend(await reader.read(65536))
            writer.close()

        server = await asyncio.start_server(without_tls, "127.0.0.1", 0)
        url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"
        member = join("first", servers=(url,), tls_ca=certificate, token="secret-token")
        await refused(member, "offers no TLS", until)
        assert said == b""
        server.close()


class TestCluster:
    async def test_one_of_three_servers_is_killed_and_origins_go_on(
        self, tmp_path, servers, join, report, until
    ):
        ports, route_ports = free_ports(3), free_ports(3)
        for number in range(3):
            servers.start(f"n{number}", cluster_settings(number, ports, route_ports, tmp_path))
        urls = [f"nats://127.0.0.1:{port}" for port in ports]
        how = {"servers": tuple(urls), "replicas_count": 3}
        first, second = join("first", **how), join("second", **how)
        await heard(first, second, report, until)
        await until(
            lambda: not (first.sharing.view().kept_problem or second.sharing.view().kept_problem), WAIT_S
        )
        numbers = itertools.count(1)

        def told():
            """A heartbeat a moment, as in life: one that was told while a connection broke is lost."""
            first.sharing.accept(report(number=next(numbers)))
            return second.taken[-1].number > least and not (first.sharing.cut_off or second.sharing.cut_off)

        for number in range(
            3
        ):  # each in turn: so also the one they are connected to, and the leader of the records
            least = second.taken[-1].number + 1
            servers.kill(f"n{number}")
            await until(told, WAIT_S)
            late = join(f"late-{number}", **how)
            await until(late.standing, WAIT_S)
            await late.end()
            servers.start(f"n{number}")
            await until(lambda at=ports[number]: _listens(at), WAIT_S)

    async def test_servers_that_are_not_there_are_passed_over(self, servers, join, report, until):
        *none, port = free_ports(3)
        servers.start("n", plain_settings(port))
        urls = tuple(f"nats://127.0.0.1:{each}" for each in (*none, port))
        await heard(join("first", servers=urls), join("second", servers=urls), report, until)

    async def test_where_no_server_is_there_that_is_said(self, join, until):
        urls = tuple(f"nats://127.0.0.1:{each}" for each in free_ports(2))
        await refused(join("first", servers=urls), "refused", until)


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
