"""A scripted stand-in behind the seam `edge_node.residents`, and a real server of the node's front before it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from aiohttp.test_utils import TestClient, TestServer

from edge_node.cache.answers import AnswerCache
from edge_node.scheduler import Scheduler
from edge_node.server import Limits, NodeParts, build_app
from edge_node.telemetry import Metrics
from tests.edge_node.scripted_front import HELLO, Front, ScriptedResidents, node_status
from tests.edge_node.scripted_node import (
    EverythingAdmitted,
    ScriptedEngines,
    ScriptedOrigin,
    VirtualClock,
    settle,
)


async def wait_until(true):
    """Give the loop away until `true()`; fails after 10 s."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # what is waited for happens in parts that have no event to offer
            await asyncio.sleep(0)


@pytest.fixture
def until():
    return wait_until


@pytest.fixture
def scripted():
    return ScriptedResidents()


@pytest.fixture
def make_residents():
    return ScriptedResidents


@pytest.fixture
def hello():
    return HELLO


@pytest.fixture
def make_status():
    return node_status


@pytest.fixture
async def make_front(scripted):
    """Starts fronts; `make_front(limits=…, scheduler=…, status=…)`."""
    clients = []

    async def make(
        *,
        limits=None,
        scheduler=None,
        status=node_status,
        cache_bytes=0,
        tracing=None,
        residents=scripted,
        node_id="node-a",
        desk=None,
        gate=None,
    ):
        ticks = itertools.count()
        cache = AnswerCache(limit_bytes=cache_bytes, age_limit_s=3600, clock=lambda: next(ticks) / 1000)
        parts = NodeParts(
            node_id=node_id,
            residents=residents,
            scheduler=scheduler or Scheduler(queue_limit_count=4),
            metrics=Metrics(node_id=node_id, software="0"),
            status=status,
            limits=limits or Limits(),
            clock=lambda: next(ticks) / 1000,
            wall_clock=lambda: 1_800_000_000.5,
            cache=cache,
            tracing=tracing,
            desk=desk,
            gate=gate,
        )
        client = TestClient(TestServer(build_app(parts)), auto_decompress=False)
        await client.start_server()
        clients.append(client)
        return Front(residents, parts.scheduler, parts.metrics, client, str(client.make_url("/v1")), cache)

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def front(make_front):
    return await make_front()


@pytest.fixture
def trust():
    return EverythingAdmitted()


@pytest.fixture
def virtual_clock():
    return VirtualClock()


@pytest.fixture
def scripted_engines():
    return ScriptedEngines()


@pytest.fixture
def scripted_origin():
    return ScriptedOrigin()


@pytest.fixture
def let_go_on():
    return settle
