"""What becomes of several generations when whoever heard them leaves in haste."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from edge_node.account import Account
from edge_node.engines import Generate
from edge_node.web.chorus import Chorus


class Stubborn:
    """A generation that says nothing, and takes a while to stop."""

    def __init__(self, may_end):
        self._may_end = may_end

    async def next_event(self):
        try:
            await asyncio.Event().wait()
        finally:
            await self._may_end.wait()


class Answering:
    def __init__(self):
        self.held_count = 0
        self.may_end = asyncio.Event()

    @asynccontextmanager
    async def generate(self, account, model, ability, command):
        self.held_count += 1
        try:
            yield Stubborn(self.may_end)
        finally:
            self.held_count -= 1


async def test_who_is_cancelled_twice_holds_no_release():
    answering = Answering()
    commands = [Generate(request_id=str(number), text="Hello") for number in range(2)]

    async def hear():
        account = Account(request_id="1", answer_id="1", route="/v1/completions", arrived_s=0.0)
        chorus = Chorus(answering, account, "chat", "completion", commands, per_prompt_count=1)
        async with chorus:
            await chorus.next_event()

    hearing = asyncio.create_task(hear())
    await asyncio.sleep(0.001)
    assert answering.held_count == 2
    for _ in range(2):  # the client goes, and while the generations are being ended the server stops
        hearing.cancel()
        await asyncio.sleep(0.001)
    with pytest.raises(asyncio.CancelledError):
        await hearing
    assert answering.held_count == 0
    answering.may_end.set()
