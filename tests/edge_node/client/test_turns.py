"""Waiting for a second try: in order, never too many, none forgotten."""

from __future__ import annotations

import asyncio
import random

import pytest

from edge_node.client.turns import Turns


async def test_first_come_first_served():
    turns, order = Turns(), []

    async def wait(name):
        await turns.wait()
        order.append(name)

    for _ in range(3):
        assert turns.take()
    waiting = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert not turns.take()
    for _ in "abc":
        turns.give_back()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_gives_up_leaves_the_turn_to_the_next(seed):
    chance, turns, most = random.Random(seed), Turns(), 0

    async def call():
        nonlocal most
        turns.begin()
        try:
            await turns.wait()
            most = max(most, turns._budget.taken_count)
            try:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                turns.give_back()
        finally:
            turns.end()

    calls = [asyncio.create_task(call()) for _ in range(25)]
    for _ in range(30):
        await asyncio.sleep(0)
        if chance.random() < 0.4:
            chance.choice(calls).cancel()
    await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert most <= 3
    assert (turns._budget.active_count, turns._budget.taken_count) == (0, 0)
