"""Blocking calls: results, errors, the bound, and callers that leave."""

import asyncio
import threading

import pytest

from origin.blocking import BlockingCalls


async def test_results_and_errors_come_back():
    calls = BlockingCalls(1)
    assert await calls.run(divmod, 7, 2) == (3, 1)
    assert await calls.run(int, "11", base=2) == 3
    with pytest.raises(ZeroDivisionError):
        await calls.run(divmod, 1, 0)
    assert await calls.run(lambda: threading.current_thread().daemon)


async def test_a_slot_is_free_only_when_the_call_ended_even_if_its_caller_left():
    calls, gate = BlockingCalls(1), threading.Event()
    leaving = asyncio.create_task(calls.run(gate.wait, 10))
    waiting = asyncio.create_task(calls.run(gate.is_set))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert not waiting.done()
    gate.set()
    assert await waiting is True
