"""Both ends of a real socket pair."""

import asyncio
import socket

import pytest

from edge_node.engines import Cancel, Delta, Generate
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
