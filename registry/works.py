"""What a daemon does besides answering: tasks that begin again when they break, and end together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

log = structlog.get_logger()

_REVIVE_S = 1.0


class Works:
    """The tasks of one daemon; after `end` they can begin anew."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do it for ever: a part that breaks is started again, since all that it does begins from what is."""
        self._start(name, _for_ever(name, work))

    def once(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do it one time, beside the others; if it breaks, the log says so."""
        self._start(name, _once(name, work))

    async def end(self) -> None:
        """Cancel all, and wait until they have ended."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _for_ever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:
            log.exception("task.broke", task=name)
        await asyncio.sleep(_REVIVE_S)


async def _once(name: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except Exception:
        log.exception("task.broke", task=name)


async def problem_of(name: str, work: Callable[[], Awaitable[object]]) -> str:
    """Do it one time; why it failed, in words, and "" when it did not.

    For what is kept fresh for ever and says why it is not: it outlives any defect, which the log tells.
    """
    try:
        await work()
    except EdgewardError as error:
        return error.message
    except Exception as error:
        log.exception("task.broke", task=name)
        return f"{type(error).__name__}: {error}"
    return ""


async def first_of(event: asyncio.Event, pause: Awaitable[object] | None) -> None:
    """Wait for what happens, or for a pause to end, whichever is first."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait())]
    if pause is not None:
        waits.append(asyncio.ensure_future(pause))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
