from __future__ import annotations

import aiohttp
import pytest

from origin.config import OriginConfig
from origin.daemon import running_origin
from registry.trust.in_memory import signed_in_memory

NAME = "edgeward-1.2.0+1-cp311-linux_x86_64.bundle"


@pytest.fixture
def bundles(tmp_path):
    directory = tmp_path / "bundles"
    directory.mkdir()
    (directory / "install.sh").write_text("origin='@ORIGIN_URL@' nodes='@NODES_URL@'\n")
    (directory / NAME).write_bytes(b"bytes" * 1000)
    (tmp_path / "secret").write_text("hidden")
    (directory / "bundles-1234.key").write_text("hidden")
    return directory


async def _get(url, path, **more):
    async with aiohttp.ClientSession() as http, http.get(f"{url}{path}", **more) as reply:
        return reply.status, await reply.read(), reply.headers


async def test_a_bundle_is_served_whole_and_in_part(bundles):
    async with running_origin(OriginConfig(port=0, bundles_dir=bundles), signed_in_memory()) as url:
        status, body, headers = await _get(url, f"/bundles/{NAME}")
        assert (status, body) == (200, b"bytes" * 1000)
        assert "immutable" in headers["Cache-Control"]
        status, body, _ = await _get(url, f"/bundles/{NAME}", headers={"Range": "bytes=5-9"})
        assert (status, body) == (206, b"bytes")


@pytest.mark.parametrize(
    "name", ["bundles-1234.key", "install.sh", "..%2Fsecret", "edgeward-9-cp311-linux_x86_64.bundle", "%00"]
)
async def test_nothing_else_is_served_from_there(bundles, name):
    async with running_origin(OriginConfig(port=0, bundles_dir=bundles), signed_in_memory()) as url:
        status, body, _ = await _get(url, f"/bundles/{name}")
        assert status == 404
        assert b"hidden" not in body


async def test_the_installer_is_told_where_it_came_from(bundles):
    config = OriginConfig(port=0, bundles_dir=bundles, nodes_public_url="https://o.example:7743")
    async with running_origin(config, signed_in_memory()) as url:
        _, body, headers = await _get(url, "/install.sh")
        assert body.decode() == f"origin='{url}' nodes='https://o.example:7743'\n"
        assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("host", ["o.example'; rm -rf /; '", "$(reboot)", "a b", "`id`"])
async def test_a_host_that_a_client_claims_cannot_write_into_the_script(bundles, host):
    async with running_origin(OriginConfig(port=0, bundles_dir=bundles), signed_in_memory()) as url:
        status, body, _ = await _get(url, "/install.sh", headers={"Host": host})
        assert status == 400 or body.decode().startswith("origin='' ")


async def test_without_a_directory_there_is_no_installer():
    async with running_origin(OriginConfig(port=0), signed_in_memory()) as url:
        for path in ("/install.sh", f"/bundles/{NAME}"):
            status, body, _ = await _get(url, path)
            assert status == 404
            assert b"bundle.unknown" in body
