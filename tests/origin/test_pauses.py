"""Pauses: what has survived is looked at no more, garbage is found all the same, and all ends as it was."""

import asyncio
import contextlib
import gc
import sys
import weakref

import pytest

from origin import pauses
from origin.pauses import SET_ASIDE_S, SWITCH_S, keep_short

HOUR_S = 10.0


class Ring:
    """Garbage that counting references does not find."""

    def __init__(self):
        self.me = self


async def test_garbage_is_found_young_at_once_and_old_within_the_hour(monkeypatch):
    monkeypatch.setattr(pauses, "WHOLE_S", HOUR_S)
    before = gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()
    slept, rings = [], {}

    async def sleep(wait_s):
        slept.append(wait_s)
        if len(slept) == 1:
            assert gc.get_freeze_count() > before[2] + 1000, "what there is, is set aside"
            assert sys.getswitchinterval() == SWITCH_S
            rings["old"] = Ring()
            rings["young"] = weakref.ref(Ring())
        elif len(slept) == 2:
            assert rings["young"]() is None
            rings["old"] = weakref.ref(rings["old"])
            gc.collect()
            assert rings["old"]() is not None, "no collection looks at what is set aside"
        elif rings["old"]() is None:
            raise asyncio.CancelledError

    with contextlib.suppress(asyncio.CancelledError):
        await keep_short(sleep)
    assert slept[0] == SET_ASIDE_S
    assert sum(slept) == pytest.approx(HOUR_S + SET_ASIDE_S)
    assert (gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()) == before
