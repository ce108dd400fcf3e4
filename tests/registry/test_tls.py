"""A server's certificate: read again when its files change, never half."""

import asyncio
import os
import ssl

import pytest
from aiohttp import ClientSession, web

from registry.errors import ConfigError
from registry.listening import listen
from registry.tls import TlsFiles, tls_files


def touch_later(*files):
    for file in files:
        status = file.stat()
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


async def shown_by(url):
    """The certificate that a server shows, DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = url.removeprefix("https://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return shown


@pytest.fixture
async def served(self_signed):
    async def hello(_request):
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    pair = self_signed("localhost")
    tls = TlsFiles("node", *pair)
    url = await listen(runner, "127.0.0.1", 0, tls.context)
    yield tls, url, pair
    await runner.cleanup()


async def test_it_speaks_https(served):
    _, url, (certificate, _) = served
    assert url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        ClientSession() as http,
        http.get(url.replace("127.0.0.1", "localhost"), ssl=trusting) as reply,
    ):
        assert await reply.text() == "hello"


async def test_new_files_count_from_the_next_connection_on_and_old_connections_go_on(served, self_signed):
    tls, url, pair = served
    trusting = ssl.create_default_context(cafile=pair[0])
    named = url.replace("127.0.0.1", "localhost")
    before = await shown_by(url)
    async with ClientSession() as http:
        async with http.get(named, ssl=trusting):
            pass
        assert not tls.look()
        self_signed("localhost")  # writes over the files
        touch_later(*pair)
        assert tls.look()
        after = await shown_by(url)
        assert after != before
        async with http.get(named, ssl=trusting) as reply:  # over the kept connection
            assert reply.status == 200


async def test_half_of_a_pair_is_not_taken_and_the_whole_one_later_is(served, self_signed):
    tls, url, pair = served
    before, key = await shown_by(url), pair[1].read_bytes()
    self_signed("localhost")
    new_key = pair[1].read_bytes()
    pair[1].write_bytes(key)  # the new certificate with the old key
    touch_later(*pair)
    assert not tls.look()
    assert await shown_by(url) == before
    pair[1].unlink()
    assert not tls.look()
    assert await shown_by(url) == before
    pair[1].write_bytes(new_key)
    touch_later(*pair)
    assert tls.look()
    assert await shown_by(url) != before


def test_files_that_cannot_be_used_are_named(self_signed, tmp_path):
    certificate, key = self_signed("localhost")
    other, _ = self_signed("localhost", "other")
    for pair in ((tmp_path / "none.pem", key), (other, key), (key, certificate)):
        with pytest.raises(ConfigError, match=r"node\.tls_cert_file = .* cannot be used"):
            TlsFiles("node", *pair)


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(self_signed):
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    certificate, key = self_signed("localhost")
    plain = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(ConfigError, match="passphrase"):
        TlsFiles("origin", certificate, key)


def test_both_files_or_none(tmp_path):
    assert tls_files("node", None, None) is None
    for pair in ((tmp_path, None), (None, tmp_path)):
        with pytest.raises(ConfigError, match="go together"):
            tls_files("node", *pair)
