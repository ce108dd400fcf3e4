"""Pauses: keeps full collections of garbage short, which stop every answer of a process while they look at all objects.

A process that has loaded its program and its models holds some hundred thousand objects that stay until it ends. They
are set aside, where no collection looks (`gc.freeze`); what comes and goes with requests is little, and is looked at
as usual.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SET_ASIDE_AFTER_S = (0.0, 10.0, 50.0, 240.0)
"""What is imported for the first requests comes later than the start."""


async def keep_short(sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
    """Set aside what stays, at the start and a few times after it; ends with nothing set aside when it is cancelled."""
    try:
        for wait_s in SET_ASIDE_AFTER_S:
            await sleep(wait_s)
            gc.collect()  # what is garbage already would never go
            gc.freeze()
        await asyncio.Event().wait()
    finally:
        gc.unfreeze()
