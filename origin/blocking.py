"""Blocking calls in daemon threads: one that hangs delays neither the event loop nor the end of the process.

`asyncio.to_thread` would: the pool behind it is joined when the process ends, and a store that stopped answering
in the middle of a call then holds a stop up for a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class BlockingCalls:
    """Runs blocking calls for one event loop, a bounded number of them at once."""

    def __init__(self, limit_count: int) -> None:
        self._slots = asyncio.Semaphore(limit_count)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's result, or what it raised; when its caller is cancelled, the slot stays taken until it ends."""
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            self._slots.release()
            if ended.cancelled():
                return
            if error is not None:
                ended.set_exception(error)
            else:
                ended.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

        def work() -> None:
            result, error = None, None
            try:
                result = call(*args, **kwargs)
            except BaseException as raised:  # noqa: BLE001  # all of it belongs to the caller
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop may be gone by now
                loop.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=work, name="blocking", daemon=True).start()
        return await ended
