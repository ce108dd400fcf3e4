"""A streamed answer that stops in the middle: when its node is asked, and when it is left in peace."""

from __future__ import annotations

import asyncio

import pytest

from edge_node.client import silence
from edge_node.client.silence import WatchedItems
from edge_node.errors import NodeUnreachableError

FIRST_S = 0.1


class Node:
    """Sends an item every 10 ms, as often as it is told, and then nothing until its connection is closed."""

    def __init__(self, items_count, *, lives=False):
        self.items_count, self.lives = items_count, lives
        self.asked_s, self.closed = [], asyncio.Event()
        self.last_s = 0.0
        self.over = []

    async def items(self):
        for number in range(self.items_count):
            await asyncio.sleep(0.01)
            self.last_s = asyncio.get_running_loop().time()
            yield number
        await self.closed.wait()
        raise NodeUnreachableError("the connection was closed")

    async def seems_alive(self):
        self.asked_s.append(asyncio.get_running_loop().time() - self.last_s)
        return self.lives

    def watched(self):
        return WatchedItems(
            self.items(),
            seems_alive=self.seems_alive,
            close=self.closed.set,
            failed=lambda _error: None,
            over=lambda: self.over.append(True),
        )


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(silence, "FIRST_CHECK_LEAST_S", FIRST_S)


@pytest.mark.parametrize("items_count", [1, 4, 11, 14])
async def test_the_time_runs_from_the_last_item(items_count):
    """Not from when it was last looked at: that found a hang up to twice as late."""
    node = Node(items_count)
    with pytest.raises(NodeUnreachableError):
        async for _ in node.watched():
            pass
    assert node.asked_s == [pytest.approx(FIRST_S)]


async def test_who_reads_slowly_asks_nobody():
    node = Node(4)
    watched = node.watched()
    for _ in range(4):
        await anext(watched)
        await asyncio.sleep(2.5 * FIRST_S)
    assert node.asked_s == []
    await watched.aclose()


async def test_a_node_that_lives_is_asked_ever_more_rarely():
    node = Node(1, lives=True)
    watched = node.watched()
    await anext(watched)
    waiting = asyncio.ensure_future(anext(watched))
    await asyncio.sleep(8 * FIRST_S)
    assert 2 <= len(node.asked_s) <= 3
    node.lives = False
    with pytest.raises(NodeUnreachableError):
        await waiting
