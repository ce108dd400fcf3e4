"""Probes, reports and renewals beside the requests; and that an idle client is silent."""

from __future__ import annotations

import asyncio

import pytest

from edge_node.client import route_lists
from tests.edge_node.client.asked_fleet import ask, fleet, session_of, until


async def test_a_new_list_is_probed_and_the_origin_is_told():
    async with fleet("a", "b", "c") as (nodes, origin, client):
        await ask(client)
        await until(lambda: origin.reports)
        assert [node.probes_count for node in nodes.values()] == [3, 3, 3]
        probes = origin.reports[0].probes
        assert sorted(probe.node_id for probe in probes) == ["a", "b", "c"]
        assert all(0 < probe.rtt_ms < 500 and probe.count == 2 for probe in probes)
        for _ in range(5):
            await ask(client)
        assert [node.probes_count for node in nodes.values()] == [3, 3, 3]


async def test_nodes_that_the_origin_is_curious_about_are_probed_too():
    async with fleet("a", "b", "c", shown=1) as (nodes, origin, client):
        origin.curious_about = [nodes["c"]]
        await ask(client)
        await until(lambda: origin.reports)
        assert sorted(probe.node_id for probe in origin.reports[0].probes) == ["a", "c"]
        assert nodes["b"].probes_count == 0


async def test_the_measured_order_replaces_the_estimated_one():
    async with fleet("a", "b", "c") as (nodes, _, client):
        nodes["a"].delay_s, nodes["b"].delay_s = 0.3, 0.2
        assert (await ask(client))[0].node_id == "a"
        await until(lambda: session_of(client)._nearest.round_trips.rtt_ms("a", session_of(client).now_s()))
        assert (await ask(client))[0].node_id == "c"
        assert (await client.route("chat")).nodes[0].node_id == "a"  # as the origin says it


async def test_requests_use_the_connections_that_probes_opened():
    async with fleet("a", "b") as (nodes, _, client):
        await ask(client)
        await until(lambda: nodes["b"].probes_count == 3)
        opened = nodes["b"].connections_count
        await nodes["a"].set("down")
        assert (await ask(client))[0].node_id == "b"
        assert nodes["b"].connections_count == opened


async def test_a_list_is_renewed_without_a_request_waiting_until_the_client_is_idle(
    monkeypatch,
):
    monkeypatch.setattr(route_lists, "RENEWALS_APART_S", 0.2)
    async with fleet("a", "b", idle_after_s=0.3) as (_, origin, client):
        origin.ttl_s = 0.0
        await ask(client)
        await asyncio.sleep(0.3)
        assert len(origin.queries) == 2
        await asyncio.sleep(0.5)
        assert len(origin.queries) == 2
        assert session_of(client)._renewal._timers == {}
        await ask(client)
        assert len(origin.queries) == 3


async def test_an_origin_that_hangs_delays_a_request_by_a_quarter_of_a_second_once():
    async with fleet("a") as (_, origin, client):
        await ask(client)
        origin.hangs = True
        session_of(client)._nearest.lists.expire("chat")
        _, took_s = await ask(client)
        assert 0.2 < took_s < 0.5
        _, took_s = await ask(client)
        assert took_s < 0.2


async def test_an_origin_that_takes_no_reports_is_left_alone():
    async with fleet("a") as (nodes, origin, client):
        origin.takes_reports = False
        await ask(client)
        await until(lambda: origin.refused_count == 1)
        session = session_of(client)
        real_s = session.now_s
        session.now_s = lambda: real_s() + 100
        await client.route("chat")
        await until(lambda: nodes["a"].probes_count == 6)
        assert origin.refused_count == 1


async def test_closing_ends_what_is_under_way():
    async with fleet("a") as (nodes, _, client):
        nodes["a"].probes_blocked = True
        await ask(client)
        await until(lambda: nodes["a"].probes_count == 1)
        await asyncio.wait_for(client.aclose(), 1.0)
        assert (await ask(client))[0].node_id == "a"  # it opens again


@pytest.mark.parametrize("count", [1, 5])
async def test_many_first_requests_ask_the_origin_once(count):
    async with fleet("a") as (_, origin, client):
        await asyncio.gather(*(ask(client) for _ in range(count)))
        assert len(origin.queries) == 1
