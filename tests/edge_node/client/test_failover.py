"""What becomes of requests when nodes die, hang, go dark or refuse: real sockets on loopback."""

from __future__ import annotations

import asyncio
import time

import pytest

from edge_node.client import Client, ClientConfig, patience
from edge_node.client.call import Call
from edge_node.errors import AnswerInvalidError, DeadlinePassedError, NodeUnreachableError
from tests.edge_node.client.asked_fleet import ask, fleet, now_s, session_of, until


@pytest.mark.parametrize("mode", ["down", "dark", "hang", "reset", "error", "busy", "loading", "missing"])
@pytest.mark.parametrize("warm", [False, True])
async def test_another_node_takes_over(mode, warm):
    async with fleet("a", "b", "c") as (nodes, _, client):
        if warm:
            assert (await ask(client))[0].node_id == "a"
            await until(lambda: all(node.probes_count == 3 for node in nodes.values()))
        await nodes["a"].set(mode)
        served, took_s = await ask(client)
        # After one that hung, whoever answers a probe first.
        assert served.node_id in ("bc" if mode == "hang" else "b")
        assert served.refusals[0].startswith("a: ")
        assert took_s < 2.0


@pytest.mark.parametrize("mode", ["down", "hang", "reset", "error"])
async def test_a_node_that_keeps_failing_is_left_alone_and_others_take_its_place(mode, hasty):
    async with fleet("a", "b", "c", "d", "e") as (nodes, origin, client):
        await ask(client)
        await until(lambda: all(nodes[name].probes_count == 3 for name in "abcd"))
        await nodes["a"].set(mode)
        for _ in range(3):
            assert (await ask(client))[0].attempts == 2
        asked_count = nodes["a"].asked_count
        for _ in range(20):
            assert (await ask(client))[0].attempts == 1
        assert nodes["a"].asked_count == asked_count
        assert origin.queries[-1].exclude == ("a",)
        await until(lambda: nodes["e"].probes_count == 3)


async def test_one_request_tries_a_node_that_comes_back():
    async with fleet("a", "b", "c") as (nodes, _, client):
        session = session_of(client)
        await nodes["a"].set("down")
        for _ in range(3):
            await ask(client)
        await nodes["a"].set("slow")
        real_s = session.now_s
        session.now_s = lambda: real_s() + 11
        found = await asyncio.gather(*(ask(client) for _ in range(6)))
        assert sorted(served.node_id for served, _ in found) == ["a", "b", "b", "b", "b", "b"]
        await nodes["a"].set("ok")
        assert (await ask(client))[0].node_id == "a"


async def test_nodes_that_were_never_reached_are_no_second_tries():
    async with fleet(*"abcdef", shown=6) as (nodes, _, client):
        for name in "abcde":
            await nodes[name].set("down")
        served, took_s = await ask(client)
        assert served.node_id == "f"
        assert took_s < 1.0


async def test_after_two_dead_ones_the_next_shows_first_that_it_lives(hasty):
    async with fleet(*"abcde", shown=4) as (nodes, origin, client):
        await ask(client)
        await until(lambda: all(nodes[name].probes_count == 3 for name in "abcd"))
        for name in "ab":
            await nodes[name].set("down")
        await nodes["c"].set("hang")
        served, _ = await ask(client)
        assert (served.node_id, served.attempts) == ("d", 3)
        assert nodes["c"].asked_count == 0, "a request sent to it would have been lost time"
        # All that are left are silent: the origin names others, and these not again.
        await nodes["d"].set("hang")
        served, _ = await ask(client)
        assert served.node_id == "e"
        assert {"c", "d"} & set(origin.queries[-1].exclude)


async def test_calls_do_not_begin_with_nodes_that_keep_failing_however_many_they_are(hasty):
    async with fleet(*"abcd") as (nodes, origin, client):
        await ask(client)
        await until(lambda: all(nodes[name].probes_count == 3 for name in "abcd"))
        await origin.stop()
        for name in "abc":
            await nodes[name].set("hang")
        session = session_of(client)
        now_s = session.now_s()
        session.now_s = lambda: now_s  # nobody's time is ever over
        for _ in range(9):
            assert (await ask(client))[0].node_id == "d"
        asked_count = sum(nodes[name].asked_count for name in "abc")
        for _ in range(10):
            assert (await ask(client))[0].attempts == 1
        assert sum(nodes[name].asked_count for name in "abc") == asked_count


async def test_after_one_whose_connection_was_waited_for_the_next_shows_first_that_it_lives(monkeypatch):
    monkeypatch.setattr(patience, "CHECK_MOST_S", 0.5)
    async with fleet(*"abc") as (nodes, _, client):
        await ask(client)
        await until(lambda: all(nodes[name].probes_count == 3 for name in "abc"))
        await nodes["a"].set("dark")
        assert (await ask(client))[0].node_id == "b", "the connection that was kept has ended"
        await nodes["b"].set("hang")
        served, _ = await ask(client)
        assert "in time" in served.refusals[0]
        assert (served.node_id, served.attempts) == ("c", 2)
        assert nodes["b"].asked_count == 1, "a request sent to it would have been lost time"


async def test_after_three_that_failed_at_work_there_is_an_end():
    async with fleet(*"abcd") as (nodes, _, client):
        for name in "abc":
            await nodes[name].set("error")
        with pytest.raises(AnswerInvalidError):
            await ask(client)
        assert [nodes[name].asked_count for name in "abcd"] == [1, 1, 1, 0]
        # A second try goes to a node that has not failed: the next call gets through.
        assert (await ask(client))[0].node_id == "d"


async def test_others_are_looked_at_while_a_silent_node_is_asked(hasty, monkeypatch):
    async with fleet(*"abcd") as (nodes, _, client):
        await ask(client)
        await until(lambda: all(nodes[name].probes_count == 3 for name in "abcd"))
        monkeypatch.setattr(patience, "CHECK_LEAST_S", 0.6)
        monkeypatch.setattr(patience, "CHECK_MOST_S", 0.6)
        for name in "ab":
            await nodes[name].set("hang")
        nodes["c"].delay_s = nodes["d"].delay_s = 0.4
        served, took_s = await ask(client)
        assert (served.node_id in "cd", served.attempts) == (True, 2), "b was seen to be silent, too"
        assert took_s < 1.3, "it was known who lives when the first was given up"
        assert nodes["b"].asked_count == 0


async def test_an_origin_that_has_just_failed_is_asked_when_all_known_nodes_are_silent(hasty):
    async with fleet(*"abc", shown=2) as (nodes, _, client):
        await ask(client)
        await until(lambda: all(nodes[name].probes_count == 3 for name in "ab"))
        session = session_of(client)
        session._nearest.lists.refused("chat", session.now_s(), lambda: 0.0)
        assert session._nearest.lists.pausing("chat", session.now_s())
        for name in "ab":
            await nodes[name].set("hang")
        served, _ = await ask(client)
        assert (served.node_id, served.attempts) == ("c", 2)
        assert nodes["b"].asked_count == 0


@pytest.mark.parametrize("mode", ["down", "hang"])
async def test_nodes_of_an_earlier_list_are_the_last_hope(hasty, mode):
    async with fleet(*"abcd", shown=2) as (nodes, origin, client):
        await ask(client)
        origin.nodes = [nodes[name] for name in "cd"]
        await client.route("chat")
        await until(lambda: all(nodes[name].probes_count == 3 for name in "abcd"))
        origin.up = False
        for name in "cd":
            await nodes[name].set(mode)
        served, _ = await ask(client)
        assert served.node_id in "ab", "they are in no list any more, and alive"


async def test_nodes_of_an_earlier_list_do_not_wait_for_the_last_sign_of_a_dead_one(hasty, monkeypatch):
    async with fleet(*"abcd", shown=3) as (nodes, origin, client):
        origin.nodes = [nodes[name] for name in "dab"]
        await ask(client)
        origin.nodes = [nodes[name] for name in "abc"]
        await client.route("chat")
        await until(lambda: all(nodes[name].probes_count == 3 for name in "abcd"))
        origin.up = False
        for name in "bc":
            await nodes[name].set("hang")
        monkeypatch.setattr(patience, "CHECK_LEAST_S", 5.0)
        monkeypatch.setattr(patience, "CHECK_MOST_S", 5.0)
        session = session_of(client)
        session._prober._alive_s.clear()  # nobody was seen of late
        began_s = session.now_s()
        found = await session._first_node(Call("chat", began_s, began_s + 60, tried=["a"]))
        assert found.node_id == "d"
        assert session.now_s() - began_s < 1.0, "b and c have 5 s to answer"


async def test_a_list_that_is_all_dead_is_not_the_end():
    async with fleet(*"abc", shown=2) as (nodes, origin, client):
        await ask(client)
        for name in "ab":
            await nodes[name].set("down")
        assert (await ask(client))[0].node_id == "c"
        assert set(origin.queries[-1].exclude) == {"a", "b"}


async def test_without_any_node_the_error_says_why_and_soon():
    async with fleet("a", "b") as (nodes, origin, client):
        await ask(client)
        for name in "ab":
            await nodes[name].set("down")
        began_s = now_s()
        with pytest.raises(NodeUnreachableError, match="refused"):
            await ask(client)
        origin.up = False
        with pytest.raises(NodeUnreachableError):
            await ask(client)
        assert now_s() - began_s < 2.0


async def test_a_full_node_is_left_alone_while_it_says_so():
    async with fleet("a", "b") as (nodes, _, client):
        await nodes["a"].set("busy")
        for _ in range(10):
            assert (await ask(client))[0].node_id == "b"
        assert nodes["a"].asked_count == 1
        assert not session_of(client)._nearest.ejections.failing("a")


async def test_a_slow_node_is_not_a_dead_one(hasty):
    async with fleet("a", "b") as (nodes, _, client):
        nodes["a"].slow_s = 0.5
        await nodes["a"].set("slow")
        served, took_s = await ask(client)
        assert (served.node_id, served.attempts) == ("a", 1)
        assert took_s > 0.5


async def test_where_the_whole_process_is_slow_no_node_is_called_silent(hasty):
    async def hold_up():
        while True:
            time.sleep(0.06)  # noqa: ASYNC251  # a machine that has too much to do
            await asyncio.sleep(0.005)

    async with fleet("a", "b") as (nodes, _, client):
        await ask(client)
        await until(lambda: nodes["a"].probes_count == 3)
        nodes["a"].delay_s = 0.03
        holding = asyncio.create_task(hold_up())
        began_s = time.monotonic()
        served, _ = await ask(client)
        holding.cancel()
        assert time.monotonic() - began_s > 0.1, "it took longer than hasty clients wait, twice"
        assert (served.node_id, served.attempts) == ("a", 1)


async def test_where_probes_are_blocked_requests_go_on(hasty):
    async with fleet("a", "b") as (nodes, _, client):
        for node in nodes.values():
            node.probes_blocked = True
            node.slow_s = 0.3
            await node.set("slow")
        assert (await ask(client))[0].node_id == "a"
        assert nodes["b"].asked_count == 0
        await nodes["a"].set("down")
        assert (await ask(client))[0].node_id == "b"


async def test_the_deadline_bounds_a_call():
    async with fleet("a", deadline_s=0.3) as (nodes, _, client):
        await nodes["a"].set("slow")
        nodes["a"].slow_s = 5.0
        began_s = now_s()
        with pytest.raises(DeadlinePassedError, match=r"within 0\.3 s"):
            await ask(client)
        assert now_s() - began_s < 1.0
        assert int(nodes["a"].heads[0]["x-edgeward-timeout-ms"]) <= 300
        assert session_of(client)._turns._budget.active_count == 0


async def test_second_tries_wait_for_their_turn_and_none_is_lost():
    async with fleet("a", "b") as (nodes, _, client):
        await ask(client)
        await nodes["a"].set("error")
        most = 0
        turns = session_of(client)._turns

        async def look():
            nonlocal most
            while True:
                most = max(most, turns._budget.taken_count)
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        found = await asyncio.gather(*(ask(client) for _ in range(20)))
        looking.cancel()
        assert {served.node_id for served, _ in found} == {"b"}
        assert most == 3
        assert (turns._budget.active_count, turns._budget.taken_count) == (0, 0)


async def test_a_call_that_is_given_up_leaves_nothing_behind():
    async with fleet("a", "b") as (nodes, _, client):
        await nodes["a"].set("slow")
        call = asyncio.create_task(ask(client))
        await until(lambda: nodes["a"].asked_count == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: nodes["a"].gone_count == 1)
        turns = session_of(client)._turns
        assert (turns._budget.active_count, turns._budget.taken_count) == (0, 0)
        assert not session_of(client)._nearest.ejections.failing("a")


async def test_threads_that_share_a_client_fail_over_too():
    async with fleet("a", "b", "c") as (nodes, origin, _):

        def use(client):
            served = [client.chat("x", model="chat").served.node_id]
            while served[-1] == "a":  # until it is down, however quick the machine is
                served.append(client.chat("x", model="chat").served.node_id)
            return [*served, *(client.chat("x", model="chat").served.node_id for _ in range(10))]

        with Client(config=ClientConfig(origin=(origin.url,))) as client:
            threads = [asyncio.create_task(asyncio.to_thread(use, client)) for _ in range(6)]
            await until(lambda: nodes["a"].asked_count > 20)
            await nodes["a"].set("down")
            found = await asyncio.gather(*threads)
            await asyncio.to_thread(client.close)
        assert all(served[0] == "a" and set(served[-11:]) == {"b"} for served in found), found
