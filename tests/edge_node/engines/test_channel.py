"""Both ends of a real socket pair."""

import asyncio
import socket
import time

import pytest

from edge_node.engines import Cancel, Delta, Embedded, Generate, Refused, framing
from edge_node.engines.channel import ChildChannel, FrontChannel
from edge_node.engines.framing import FrameInvalidError, encode_frame


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


async def test_a_conversation(ends):
    events = []
    front, child = await FrontChannel.over(ends[0], events.append), ChildChannel(ends[1])
    front.send(Generate(request_id="a", text="x" * 300_000))
    front.send(Cancel("a"))
    heard = []
    while len(heard) < 2:
        heard += await asyncio.to_thread(child.receive, wait=True)
    assert [type(command) for command in heard] == [Generate, Cancel]
    assert child.receive(wait=False) == []
    child.send([Delta("a", "one", 1), Delta("a", "two", 1)])
    ends[1].close()
    async with asyncio.timeout(60):
        await front.ended()
    assert events == [Delta("a", "one", 1), Delta("a", "two", 1)]
    front.close()


async def test_an_answer_that_is_too_large_is_refused_and_ends_no_other(ends, monkeypatch):
    events = []
    front, child = await FrontChannel.over(ends[0], events.append), ChildChannel(ends[1])
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 1000)
    fields = {"dims": 1, "prompt_tokens": 1, "service_s": 0.1}
    child.send([Delta("a", "one", 1), Embedded(request_id="b", vectors=bytes(1000), **fields)])
    child.send([Delta("c", "\ud800", 1), Delta("a", "two", 1)])
    ends[1].close()
    async with asyncio.timeout(60):
        await front.ended()
    assert [type(event) for event in events] == [Delta, Refused, Refused, Delta]
    assert (events[1].request_id, events[1].code) == ("b", "request.invalid")
    assert "over the limit of 1000" in events[1].message
    assert (events[2].request_id, events[2].code) == ("c", "request.invalid")
    front.close()


async def test_the_child_hears_that_the_front_is_gone(ends):
    child = ChildChannel(ends[1])
    ends[0].close()
    assert child.receive(wait=True) is None
    assert child.receive(wait=False) is None


async def test_the_front_does_not_believe_garbage(ends):
    events = []
    front = await FrontChannel.over(ends[0], events.append)
    ends[1].sendall(encode_frame(Delta("a", "one", 1)) + b"GGML_ASSERT failed")
    with pytest.raises(FrameInvalidError):
        async with asyncio.timeout(60):
            await front.ended()
    assert events == [Delta("a", "one", 1)]
    ends[1].sendall(encode_frame(Delta("a", "two", 1)))
    ends[1].close()
    await asyncio.sleep(0.05)
    assert events == [Delta("a", "one", 1)], "what speaks nonsense is not believed afterwards"
    front.close()


async def test_commands_to_a_closed_channel_go_nowhere(ends):
    front = await FrontChannel.over(ends[0], lambda event: None)
    front.close()
    front.send(Cancel("a"))
    assert await asyncio.to_thread(ChildChannel(ends[1]).receive, wait=True) is None


async def test_a_front_that_is_busy_elsewhere_holds_the_child_up_and_loses_nothing(ends):
    events = []
    front, child = await FrontChannel.over(ends[0], events.append), ChildChannel(ends[1])
    said = [Delta("a", "x" * 100_000, number) for number in range(200)]
    sending = asyncio.create_task(asyncio.to_thread(child.send, said))
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - the loop itself is busy
    assert not sending.done(), "20 MB fit into no socket: the child waits"
    async with asyncio.timeout(60):
        await sending
        ends[1].shutdown(socket.SHUT_WR)
        await front.ended()
    assert events == said
    front.close()


async def test_a_child_that_is_busy_elsewhere_finds_all_that_it_was_sent(ends):
    front, child = await FrontChannel.over(ends[0], lambda event: None), ChildChannel(ends[1])
    sent = [Generate(request_id=f"r{number}", text="x" * 1_000_000) for number in range(20)]
    for command in sent:
        front.send(command)  # never blocks: others are answered meanwhile
    heard = []
    async with asyncio.timeout(60):
        while len(heard) < len(sent):
            heard += await asyncio.to_thread(child.receive, wait=True)
    assert heard == sent
    front.close()


@pytest.mark.parametrize("cut_bytes", [1, 500_000])
async def test_a_child_that_dies_in_the_middle_of_an_event_has_said_what_was_whole(ends, cut_bytes):
    events = []
    front = await FrontChannel.over(ends[0], events.append)
    half = encode_frame(Delta("a", "x" * 1_000_000, 1))[:cut_bytes]
    await asyncio.to_thread(ends[1].sendall, encode_frame(Delta("a", "one", 1)) + half)
    ends[1].close()
    async with asyncio.timeout(60):
        await front.ended()
    assert events == [Delta("a", "one", 1)]
    front.close()


async def test_a_child_that_dies_with_commands_unread_is_gone_and_no_more(ends):
    front = await FrontChannel.over(ends[0], lambda event: None)
    for number in range(20):
        front.send(Generate(request_id=f"r{number}", text="x" * 1_000_000))
    await asyncio.sleep(0)
    ends[1].close()
    async with asyncio.timeout(60):
        await front.ended()
    front.send(Cancel("r0"))
    front.close()


async def test_a_front_that_goes_in_the_middle_of_a_command_is_gone(ends):
    child = ChildChannel(ends[1])
    frame = encode_frame(Generate(request_id="a", text="x" * 1_000_000))
    sending = asyncio.create_task(asyncio.to_thread(ends[0].sendall, frame[:-1]))
    assert await asyncio.to_thread(child.receive, wait=False) == []
    while not sending.done():
        assert await asyncio.to_thread(child.receive, wait=False) == []
    ends[0].close()
    assert await asyncio.to_thread(child.receive, wait=True) is None
