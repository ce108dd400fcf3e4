"""Pauses: what stays is looked at no more, what comes later is, and all ends as it was."""

import asyncio
import gc
import weakref

import pytest

from edge_node.pauses import SET_ASIDE_AFTER_S, keep_short


class Ring:
    """Garbage that counting references does not find."""

    def __init__(self):
        self.me = self


async def test_what_stays_is_set_aside_a_few_times_and_garbage_is_still_found():
    before_count, slept, counts, stays, last = gc.get_freeze_count(), [], [], [], asyncio.Event()
    keeps = weakref.WeakValueDictionary()

    async def sleep(wait_s):
        slept.append(wait_s)
        counts.append(gc.get_freeze_count())
        keeps[wait_s] = Ring()  # garbage already: never set aside
        stays.append(Ring())
        await asyncio.sleep(0)
        if len(slept) == len(SET_ASIDE_AFTER_S):
            last.set()

    work = asyncio.create_task(keep_short(sleep))
    await last.wait()
    await asyncio.sleep(0)
    assert tuple(slept) == SET_ASIDE_AFTER_S
    assert not keeps
    assert counts[0] == before_count
    assert min(*counts[1:], gc.get_freeze_count()) > before_count + 1000
    looked_at = {id(each) for each in gc.get_objects()}
    assert not looked_at & {id(each) for each in stays}, "what came before the last time is set aside too"
    garbage = weakref.ref(Ring())
    gc.collect()
    assert garbage() is None
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert gc.get_freeze_count() == 0
