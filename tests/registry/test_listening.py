"""Where a daemon listens: who can reach it, and a port that it does not get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession, web

from registry.errors import ConfigError
from registry.listening import check_listener, is_loopback, listen

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Listener:
    host: str = "127.0.0.1"
    port: int = 0
    insecure: bool = False
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    require_keys: bool = False


@pytest.fixture
async def runner():
    runner = web.AppRunner(web.Application(), shutdown_timeout=0)
    await runner.setup()
    yield runner
    await runner.cleanup()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "192.0.2.7", "2001:db8::1", "example.org", ""])
def test_a_host_that_others_can_reach_must_be_said_to_be_insecure(host):
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match=r"node\.host.*--insecure"):
        check_listener("node", Listener(host))
    check_listener("node", Listener(host, insecure=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_alone_is_fine(host):
    assert is_loopback(host)
    check_listener("node", Listener(host))


def test_a_certificate_lets_others_reach_it(tmp_path):
    check_listener("node", Listener("0.0.0.0", tls_cert_file=tmp_path, tls_key_file=tmp_path))
    for half in ({"tls_cert_file": tmp_path}, {"tls_key_file": tmp_path}):
        with pytest.raises(ConfigError, match="go together"):
            check_listener("node", Listener("0.0.0.0", **half))


@pytest.mark.parametrize("port", [-1, 65_536])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(ConfigError, match=r"node\.port"):
        check_listener("node", Listener(port=port))


async def test_the_url_has_the_real_port(runner):
    url = await listen(runner, "127.0.0.1", 0)
    async with ClientSession() as session, session.get(url) as reply:
        assert reply.status == 404
    assert int(url.rpartition(":")[2]) > 0


async def test_a_port_in_use_is_named(runner):
    port = int((await listen(runner, "127.0.0.1", 0)).rpartition(":")[2])
    with pytest.raises(
        ConfigError, match=rf"port {port} on 127\.0\.0\.1 is in use by another program; .*--port"
    ):
        await listen(runner, "127.0.0.1", port)


async def test_an_address_of_another_machine_is_named(runner):
    with pytest.raises(ConfigError, match=r"'192\.0\.2\.1' is not an address of this machine"):
        await listen(runner, "192.0.2.1", 0)
