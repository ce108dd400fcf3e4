"""A whole node with a join token: it joins, reports over mutual TLS, says until when, and serves on when turned out."""

import asyncio
import ssl
import time

import aiohttp
import pytest

from edge_node.config import NodeConfig
from edge_node.enrolment.membership import load_membership
from edge_node.running import running_node
from origin.client import OriginClient
from origin.errors import TokenUsedError


@pytest.fixture
def settings(tmp_path, fleet_origin):
    def settings(**changes):
        said = {
            "port": 0, "origin": (fleet_origin.door_url,), "data_dir": tmp_path / "n", "node_id": "fra-1",
        }  # fmt: skip
        return NodeConfig(**said | changes)

    return settings


async def readiness(url, **said):
    async with aiohttp.ClientSession() as http, http.get(f"{url}/readyz", **said) as reply:
        return await reply.json()


async def until(ask, true):
    async with asyncio.timeout(20):
        while not true(answer := await ask()):  # noqa: ASYNC110  # what a client sees gives no event
            await asyncio.sleep(0.02)
    return answer


async def test_it_joins_reports_and_says_until_when(fleet_origin, settings, scripted_engines):
    config = settings(join_token=str(fleet_origin.token()))
    async with running_node(config, build=scripted_engines) as node:
        health = await until(lambda: readiness(node.url), lambda it: it["origin_up"])
        assert health["enrolment"]["fleet"] == "fleet-test"
        assert health["enrolment"]["not_after_unix_s"] == pytest.approx(time.time() + 86_400, abs=60)
        async with OriginClient(fleet_origin.url) as client:
            (view,) = (await client.nodes()).nodes
        assert (view.report.node_id, view.report.enrolled) == ("fra-1", True)
        async with aiohttp.ClientSession() as http, http.get(f"{node.url}/metrics") as reply:
            text = await reply.text()
        assert "edge_cert_not_after_timestamp_seconds 1." in text
    # Started again it needs no token, and neither the id nor the origin.
    async with running_node(
        settings(node_id="", origin=("http://127.0.0.1:7700",)), build=scripted_engines
    ) as node:
        assert node.node_id == "fra-1"
        await until(lambda: readiness(node.url), lambda it: it["origin_up"])


async def test_one_that_is_turned_out_serves_on_and_says_why(fleet_origin, settings, scripted_engines):
    config = settings(join_token=str(fleet_origin.token()))
    async with running_node(config, build=scripted_engines) as node:
        await until(lambda: readiness(node.url), lambda it: it["origin_up"])
        fleet_origin.register.revoke_node("fra-1", time.time())
        await until(lambda: readiness(node.url), lambda it: not it["origin_up"])
        async with aiohttp.ClientSession() as http, http.get(f"{node.url}/v1/models") as reply:
            assert reply.status == 200


async def test_a_used_token_ends_the_start_with_a_clear_word(
    fleet_origin, settings, scripted_engines, tmp_path
):
    token = str(fleet_origin.token())
    async with running_node(settings(join_token=token), build=scripted_engines):
        pass
    other = settings(join_token=token, node_id="b", data_dir=tmp_path / "m")
    with pytest.raises(TokenUsedError, match="fra-1"):
        async with running_node(other, build=scripted_engines):
            pass
    assert load_membership(tmp_path / "m") is None


async def test_its_clients_see_the_certificate_that_it_was_given(settings, scripted_engines, self_signed):
    certificate, key = self_signed("localhost")
    config = settings(tls_cert_file=certificate, tls_key_file=key, origin=("http://127.0.0.1:9",))
    async with running_node(config, build=scripted_engines) as node:
        assert node.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=certificate)
        health = await readiness(node.url.replace("127.0.0.1", "localhost"), ssl=trusting)
        assert (health["node_id"], health["enrolment"]) == ("fra-1", None)
