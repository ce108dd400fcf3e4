"""Late embeddings are asked for twice, seldom, and text never: real sockets on loopback."""

from __future__ import annotations

from tests.edge_node.client.asked_fleet import ask, fleet, session_of, until


async def embed_often(client, count):
    for _ in range(count):
        await client.embed("x", model="embed")


async def test_a_late_embedding_is_asked_for_twice_and_the_loser_is_cancelled():
    async with fleet("a", "b") as (nodes, _, client):
        await embed_often(client, 49)  # the next one may be hedged
        assert nodes["b"].asked_count == 0
        await nodes["a"].set("slow")
        vectors = await client.embed("x", model="embed")
        assert (vectors.served.node_id, vectors.served.hedged, vectors.served.total_ms < 200) == (
            "b",
            True,
            True,
        )
        await until(lambda: nodes["a"].gone_count == 1)
        # One in fifty: the next late one is not.
        assert not (await client.embed("x", model="embed")).served.hedged
        assert session_of(client)._turns._budget.taken_count == 0
        assert not session_of(client)._nearest.ejections.failing("a")


async def test_a_hedge_that_fails_costs_nothing():
    async with fleet("a", "b") as (nodes, _, client):
        await embed_often(client, 49)  # the next one may be hedged
        await nodes["a"].set("slow")
        await nodes["b"].set("error")
        vectors = await client.embed("x", model="embed")
        assert (vectors.served.node_id, vectors.served.hedged) == ("a", False)
        assert nodes["b"].asked_count == 1


async def test_a_hedge_that_finds_nobody_goes_to_the_next():
    async with fleet("a", "b", "c") as (nodes, _, client):
        await embed_often(client, 49)  # the next one may be hedged
        await nodes["a"].set("slow")
        await nodes["b"].set("down")
        vectors = await client.embed("x", model="embed")
        assert (vectors.served.node_id, vectors.served.hedged) == ("c", True)


async def test_text_is_never_hedged():
    async with fleet("a", "b") as (nodes, _, client):
        for _ in range(60):
            await ask(client)
        await nodes["a"].set("slow")
        assert (await ask(client))[0].node_id == "a"
        assert nodes["b"].asked_count == 0
