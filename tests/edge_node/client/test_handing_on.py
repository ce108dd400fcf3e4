"""Nodes that hand a request on: where it goes, how often, and what of the client's goes with it."""

from __future__ import annotations

import pytest

from edge_node.errors import AnswerInvalidError
from tests.edge_node.client.asked_fleet import ask, fleet, session_of
from tests.edge_node.client.faulty_fleet import FaultyNode


async def test_a_node_may_hand_a_request_on():
    async with fleet("a", "b", "c", api_key="k") as (nodes, _, client):
        await nodes["a"].set("hand_on")
        nodes["a"].location = nodes["b"].url
        served, _ = await ask(client)
        assert (served.node_id, served.handed_on, served.attempts) == ("b", 1, 1)
        assert nodes["b"].heads[0]["authorization"] == "bearer k"
        await nodes["b"].set("hand_on")
        nodes["b"].location = nodes["c"].url
        assert (await ask(client))[0].handed_on == 2
        await nodes["c"].set("hand_on")
        nodes["c"].location = nodes["a"].url
        with pytest.raises(AnswerInvalidError, match="more than 2"):
            await ask(client)


async def test_the_key_goes_to_no_node_that_the_origin_did_not_name():
    stranger = FaultyNode("stranger")
    await stranger.start()
    async with fleet("a", "b", api_key="k") as (nodes, _, client):
        await nodes["a"].set("hand_on")
        nodes["a"].location = stranger.url
        served, _ = await ask(client)
        assert (served.node_id, served.handed_on) == ("stranger", 1)
        assert "authorization" not in stranger.heads[0]
        assert nodes["a"].heads[0]["authorization"] == "bearer k"
        # A stranger that fails says nothing against the node that is known.
        await stranger.set("down")
        assert (await ask(client))[0].node_id == "b"
        assert not session_of(client)._nearest.ejections.failing("a")
    await stranger.stop()


@pytest.mark.parametrize("location", ["ftp://x/", "http://[", "//", ""])
async def test_handed_on_to_nonsense(location):
    async with fleet("a", "b") as (nodes, _, client):
        await nodes["a"].set("hand_on")
        nodes["a"].location = location
        served, _ = await ask(client)
        assert served.node_id == "b"


async def test_a_first_try_carries_the_ticket_of_its_list_and_a_second_one_does_not():
    async with fleet("a", "b") as (nodes, origin, client):
        origin.ticket = "signed"
        await nodes["a"].set("error")
        await ask(client)
        assert nodes["a"].heads[0]["x-edgeward-ticket"] == "signed"
        # Its node must not hand the request on to the one that has just failed it.
        assert "x-edgeward-ticket" not in nodes["b"].heads[0]
        session = session_of(client)
        real_s = session.now_s
        origin.up = False
        session.now_s = lambda: real_s() + 61
        await ask(client)
        assert "x-edgeward-ticket" not in nodes["a"].heads[1]


async def test_what_goes_on_elsewhere_is_not_handed_back():
    async with fleet("a", "b") as (nodes, origin, client):
        origin.ticket = "signed"
        session = session_of(client)

        async def attempt(call, node):
            async with session.post(
                node, "/v1/chat/completions", {}, "application/json", call=call
            ) as response:
                return await session.body_of(response)

        await session.call("chat", attempt, avoid=["a"])
        assert "x-edgeward-ticket" not in nodes["b"].heads[0]


async def test_a_named_node_whose_url_is_nonsense_is_passed_by():
    async with fleet("a", "b") as (nodes, _, client):
        await ask(client)
        nodes["a"].__class__ = type("Lost", (FaultyNode,), {"url": "nonsense"})
        await client.route("chat")
        assert (await ask(client))[0].node_id == "b"
        await nodes["b"].set("hand_on")
        nodes["b"].location = nodes["b"].url
        with pytest.raises(AnswerInvalidError, match="more than 2"):
            await ask(client)
