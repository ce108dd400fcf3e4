"""Streams whose node hangs, thinks or is left early: who is watched, and who is found out."""

from __future__ import annotations

import asyncio

import pytest

from edge_node.client import silence
from edge_node.errors import StreamBrokenError
from tests.edge_node.client.asked_fleet import ask, fleet, now_s, session_of, until


async def read_on(client, node, mode):
    stream = client.stream_chat("x", model="chat")
    async for _ in stream:
        if node.mode == "ok":
            await node.set(mode)
    return stream


async def test_a_node_that_hangs_in_the_middle_of_a_stream_is_found_out(hasty, monkeypatch):
    monkeypatch.setattr(silence, "FIRST_CHECK_LEAST_S", 0.05)
    async with fleet("a", "b") as (nodes, _, client):
        await ask(client)
        await until(lambda: nodes["a"].probes_count == 3)
        began_s = now_s()
        with pytest.raises(StreamBrokenError) as broken:
            await read_on(client, nodes["a"], "hang")
        assert broken.value.text.startswith("more ")
        assert now_s() - began_s < 1.0
        assert session_of(client)._nearest.ejections.failing("a")


async def test_a_node_that_thinks_in_the_middle_of_a_stream_is_waited_for(hasty, monkeypatch):
    monkeypatch.setattr(silence, "FIRST_CHECK_LEAST_S", 0.05)
    async with fleet("a", "b") as (nodes, _, client):
        await ask(client)
        await until(lambda: nodes["a"].probes_count == 3)
        reading = asyncio.create_task(read_on(client, nodes["a"], "pause"))
        await until(lambda: nodes["a"].probes_count > 3)
        await nodes["a"].set("end")
        assert (await reading).text.endswith("end")
        assert not [task for task in asyncio.all_tasks() if "cut_off" in repr(task)]


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_stream_is_under_way_until_its_end(leaves):
    async with fleet("a") as (nodes, _, client):
        under_way = session_of(client)._nearest._counts
        await ask(client)
        assert not under_way()
        stream = client.stream_chat("x", model="chat")
        await anext(stream)
        assert under_way() == {"a": 1}
        if leaves:
            await stream.aclose()
        else:
            await nodes["a"].set("end")
            async for _ in stream:
                pass
        assert not under_way()


async def test_who_asks_much_at_once_goes_to_several_nodes():
    async with fleet("a", "b", "c") as (_, origin, client):
        origin.each_s = 1.0
        streams = [client.stream_chat("x", model="chat") for _ in range(6)]
        for stream in streams:
            await anext(stream)
        assert sorted(stream.served.node_id for stream in streams) == ["a", "a", "b", "b", "c", "c"]
        for stream in streams:
            await stream.aclose()


async def test_a_stream_left_early_is_watched_no_more():
    async with fleet("a") as (nodes, _, client):
        async with client.stream_chat("x", model="chat") as stream:
            await anext(stream)
            assert [task for task in asyncio.all_tasks() if "cut_off" in repr(task)] == []
            await anext(stream)
            assert len([task for task in asyncio.all_tasks() if "cut_off" in repr(task)]) == 1
        assert [task for task in asyncio.all_tasks() if "cut_off" in repr(task)] == []
        await nodes["a"].set("down")
