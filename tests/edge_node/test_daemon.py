from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys

import aiohttp
import pytest

from edge_node.config import NodeConfig
from edge_node.running import running_node
from origin.client import OriginClient
from origin.config import OriginConfig
from origin.daemon import running_origin
from registry.errors import ConfigError
from registry.trust.in_memory import signed_in_memory
from tests.edge_node.scripted_registry import Registry

A, B = (bytes([letter]) * 50_000 for letter in b"ab")
NOWHERE = "http://127.0.0.1:9"  # the port `discard`, where nobody listens


@pytest.fixture
def registry(scripted_origin):
    return Registry(scripted_origin)


@pytest.fixture
async def origin_url(registry):
    config = OriginConfig(port=0, heartbeat_s=0.05, catalog_refresh_s=0.05)
    async with running_origin(config, registry.store) as url:
        yield url


@pytest.fixture
def root_file(tmp_path, registry):
    path = tmp_path / "root.json"
    path.write_bytes(registry.root)
    return path


@pytest.fixture
def settings(tmp_path, root_file):
    def settings(**changes):
        return NodeConfig(
            **{
                "port": 0,
                "origin": (NOWHERE,),
                "data_dir": tmp_path / "node",
                "place": "50.11,8.68",
                "node_id": "fra-1",
                "trusted_root": root_file,
            }
            | changes
        )

    return settings


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def until(ask, true):
    async with asyncio.timeout(20):
        while not true(answer := await ask()):  # noqa: ASYNC110  # what a client sees gives no event
            await asyncio.sleep(0.01)
    return answer


def ready(url, http):
    async def ask():
        async with http.get(f"{url}/readyz") as reply:
            return await reply.json()

    return ask


async def chat(http, url, text="hello", **fields):
    body = {"model": "chat", "messages": [{"role": "user", "content": text}], **fields}
    async with http.post(f"{url}/v1/chat/completions", json=body) as reply:
        return reply.status, dict(reply.headers), await reply.json()


async def test_a_node_joins_pulls_what_its_channel_says_and_answers(
    registry, origin_url, settings, scripted_engines, http
):
    registry.publish("chat", "1", [A])
    async with running_node(settings(origin=(origin_url,)), build=scripted_engines) as node:
        assert node.url.startswith("http://127.0.0.1:")
        health = await until(ready(node.url, http), lambda it: it["ready"])
        assert (health["node_id"], health["origin_up"]) == ("fra-1", True)
        status, headers, body = await chat(http, node.url)
        assert status == 200
        assert body["choices"][0]["message"]["content"] == "by 1"
        assert (headers["x-edgeward-node"], headers["x-edgeward-release"]) == ("fra-1", "chat@1")
        async with OriginClient(origin_url) as client:
            (seen,) = await until(
                lambda: nodes(client),
                lambda it: it and any(model.state == "ready" for model in it[0].report.models),
            )
        assert (seen.state, seen.report.url, seen.report.place.lat) == ("up", node.url, 50.11)
        assert seen.report.models[0].slots == 2


async def nodes(client):
    return (await client.nodes()).nodes


async def test_a_new_version_is_taken_while_the_node_runs(
    registry, origin_url, settings, scripted_engines, http
):
    registry.publish("chat", "1", [A])
    async with running_node(settings(origin=(origin_url,)), build=scripted_engines) as node:
        await until(ready(node.url, http), lambda it: it["ready"])
        registry.publish("chat", "2", [B])
        answers = await until(
            lambda: chat(http, node.url), lambda it: it[0] != 200 or it[1]["x-edgeward-release"] == "chat@2"
        )
        assert answers[0] == 200  # no request failed on the way


async def test_a_restarted_node_serves_without_the_origin_and_says_how_old_its_knowledge_is(
    registry, origin_url, settings, scripted_engines, http
):
    registry.publish("chat", "1", [A])
    async with running_node(settings(origin=(origin_url,)), build=scripted_engines) as node:
        await until(ready(node.url, http), lambda it: it["ready"])
    async with running_node(settings(origin=(NOWHERE,)), build=scripted_engines) as node:
        health = await until(ready(node.url, http), lambda it: it["ready"])
        assert (health["origin_up"], health["origin_age_s"]) == (False, None)
        assert (await chat(http, node.url))[0] == 200


async def test_without_a_root_of_trust_nothing_is_installed_and_readyz_says_why(
    registry, origin_url, settings, scripted_engines, http
):
    registry.publish("chat", "1", [A])
    config = settings(origin=(origin_url,), trusted_root=None)
    async with running_node(config, build=scripted_engines) as node:
        health = await until(ready(node.url, http), lambda it: it["models"] and it["models"][0]["detail"])
    assert not health["ready"]
    assert health["trust"]["state"] == "no_root"
    assert "installs nothing" in health["models"][0]["detail"]
    assert "node.trusted_root" in health["trust"]["problem"]


async def test_the_first_root_is_taken_only_when_that_was_said_and_then_for_good(
    registry, origin_url, settings, scripted_engines, http
):
    registry.publish("chat", "1", [A])
    config = settings(origin=(origin_url,), trusted_root=None, trust_first_root=True)
    async with running_node(config, build=scripted_engines) as node:
        health = await until(ready(node.url, http), lambda it: it["ready"])
        async with http.get(f"{node.url}/metrics") as reply:
            page = await reply.text()
    assert health["trust"]["state"] == "verified"
    assert 0 < health["trust"]["expires_in_s"] <= 86_400
    assert "edge_trust_expires_seconds 8" in page
    assert (config.data_dir / "root.json").read_bytes() == registry.root


async def test_a_node_with_another_root_installs_nothing(
    registry, origin_url, settings, scripted_engines, http, root_file
):
    registry.publish("chat", "1", [A])
    root_file.write_bytes(signed_in_memory().reader.pin)
    async with running_node(settings(origin=(origin_url,)), build=scripted_engines) as node:
        health = await until(ready(node.url, http), lambda it: it["models"] and it["models"][0]["detail"])
    assert (health["ready"], health["trust"]["state"]) == (False, "refused")
    assert "not signed by the keys" in health["trust"]["problem"]


async def test_draining_lets_running_answers_finish_refuses_new_ones_and_tells_the_origin(
    registry, origin_url, settings, scripted_engines, http
):
    registry.publish("chat", "1", [A])
    async with running_node(settings(origin=(origin_url,)), build=scripted_engines) as node:
        await until(ready(node.url, http), lambda it: it["ready"])
        scripted_engines.work_gate = asyncio.Event()
        running = asyncio.create_task(chat(http, node.url))
        engine = scripted_engines.made[0]
        await until(lambda: asyncio.sleep(0, len(engine.commands)), lambda count: count == 2)
        draining = asyncio.create_task(node.drain(asyncio.Event()))
        status, _, body = await until(lambda: chat(http, node.url), lambda it: it[0] != 200)
        assert (status, body["error"]["code"]) == (503, "node.draining")
        async with OriginClient(origin_url) as client:
            (seen,) = await until(lambda: nodes(client), lambda it: it[0].report.draining)
        assert seen.state == "draining"
        assert not draining.done()
        scripted_engines.work_gate.set()
        assert (await running)[0] == 200
        await draining


async def test_a_second_signal_does_not_wait(registry, origin_url, settings, scripted_engines, http):
    registry.publish("chat", "1", [A])
    hurry = asyncio.Event()
    async with running_node(settings(origin=(origin_url,)), build=scripted_engines) as node:
        await until(ready(node.url, http), lambda it: it["ready"])
        scripted_engines.work_gate = asyncio.Event()
        running = asyncio.create_task(chat(http, node.url))
        engine = scripted_engines.made[0]
        await until(lambda: asyncio.sleep(0, len(engine.commands)), lambda count: count == 2)
        hurry.set()
        await node.drain(hurry)
    assert (await running)[0] == 502
    assert engine.closed_with_s == 0


async def test_a_port_in_use_is_said_and_nothing_stays_behind(settings, scripted_engines, http):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use"):
            async with running_node(settings(port=port), build=scripted_engines):
                pass
    async with running_node(settings(port=port), build=scripted_engines) as node:  # the lock is free again
        assert (await chat(http, node.url))[0] == 404


async def test_two_nodes_cannot_share_a_data_directory(settings, scripted_engines):
    async with running_node(settings(), build=scripted_engines):
        with pytest.raises(ConfigError, match=rf"process {os.getpid()}\b"):
            async with running_node(settings(), build=scripted_engines):
                pass


async def test_clients_are_told_the_public_url(settings, scripted_engines):
    async with running_node(settings(public_url="https://fra.example"), build=scripted_engines) as node:
        assert node.report().url == "https://fra.example"


PROGRAM = """
import sys
from pathlib import Path
from edge_node.config import NodeConfig
from edge_node.process import run_node
from registry.log import configure_logging
configure_logging(service="node", form="json")
run_node(NodeConfig(port=0, origin=("http://127.0.0.1:9",), data_dir=Path(sys.argv[1])))
"""


def test_a_told_process_ends_well(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path / "node"], stderr=subprocess.PIPE
    ) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if b"node.started" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert b"node.stopped" in lines[-1]
    assert (tmp_path / "node" / "node.id").is_file()


async def test_a_second_node_takes_what_the_first_one_holds(
    registry, origin_url, settings, scripted_engines, http, tmp_path
):
    chunks = [random.Random(number).randbytes(400_000) for number in range(8)]
    registry.publish("chat", "1", chunks)
    async with running_node(settings(origin=(origin_url,)), build=scripted_engines) as first:
        await until(ready(first.url, http), lambda it: it["ready"])
        other = settings(origin=(origin_url,), node_id="fra-2", data_dir=tmp_path / "other")
        async with running_node(other, build=scripted_engines) as second:
            await until(ready(second.url, http), lambda it: it["ready"])

            async def page():
                async with http.get(f"{second.url}/metrics") as reply:
                    return await reply.text()

            text = await until(page, lambda it: 'pull_bytes_total{source="peer"}' in it)
    fetched = float(text.partition('pull_bytes_total{source="peer"} ')[2].partition("\n")[0])
    assert fetched > 0
    assert (tmp_path / "other/models/chat/1/files/model.gguf").read_bytes() == b"".join(chunks)


async def test_a_byte_that_rots_on_a_nodes_disk_is_mended_while_it_serves(
    registry, origin_url, settings, scripted_engines, http, tmp_path
):
    registry.publish("chat", "1", [A, B])
    config = settings(origin=(origin_url,), scrub_pause_s=1, scrub_bytes_per_s=10**9)
    async with running_node(config, build=scripted_engines) as node:
        await until(ready(node.url, http), lambda it: it["ready"])
        place = tmp_path / "node/models/chat/1/files/model.gguf"
        place.write_bytes(b"X" + place.read_bytes()[1:])

        async def bytes_on_disk():
            return place.read_bytes()

        assert await until(bytes_on_disk, lambda it: it == A + B)
        await until(ready(node.url, http), lambda it: it["ready"])
        assert len(scripted_engines.made) >= 1
