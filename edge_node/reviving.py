"""Reviving: the node's tasks that never end, each begun again when it breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger()

_REVIVE_S = 1.0


async def for_ever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """A task supervisor: a part that breaks is started again, since all that it does begins from what is."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("task.broke", task=name)
        await asyncio.sleep(_REVIVE_S)


async def once(work: Callable[[], Awaitable[object]]) -> None:
    """A task that ends with its work."""
    await work()
