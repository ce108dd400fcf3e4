"""Pauses: keeps short what stops a whole origin: full collections of garbage, and threads that hold the interpreter.

An origin keeps very many small objects (nodes, estimates, lists of clients), nearly all of them for long. A full
collection looks at each, and stops all answers meanwhile. So what has survived is set aside time and again, where no
collection looks (`gc.freeze`), and only what is new is looked at. What has become garbage there is found once an hour.
That is done often, since what is kept for clients is replaced all the time: new objects free as many old ones, so that
Python itself sees no reason to look, and the longer it waits, the longer a look takes.

Work in threads, such as fitting the surface of round trips, gives the interpreter back when it is asked to, after 5 ms
by default: for as long as it runs, every answer would wait so long.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SWITCH_S = 0.0005
SET_ASIDE_S = 0.1
WHOLE_S = 3600.0
YOUNG_LIMIT_COUNT = 2_000


async def keep_short(sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
    """Do so for ever; for processes that are an origin and nothing else. Ends with things as they were."""
    before = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(YOUNG_LIMIT_COUNT, *before[0][1:])
    sys.setswitchinterval(SWITCH_S)
    left_count = 0
    try:
        while True:
            if left_count == 0:
                gc.unfreeze()
                gc.collect()
                left_count = round(WHOLE_S / SET_ASIDE_S)
            else:
                gc.collect(1)
            gc.freeze()
            await sleep(SET_ASIDE_S)
            left_count -= 1
    finally:
        gc.unfreeze()
        gc.set_threshold(*before[0])
        sys.setswitchinterval(before[1])
