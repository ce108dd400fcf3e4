"""The rest of a streamed answer, watched: a node that hangs in the middle of it is found out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, TypeVar

from edge_node.client.patience import FIRST_CHECK_LEAST_S, next_check_s
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class WatchedItems(AsyncGenerator[T, None]):
    """The same items; 0.3 s after the last one the node is asked whether it lives, and cut off if not.

    The time runs while somebody waits for an item: one that reads slowly is no sign of a node that hangs.

    It is no generator function, so that the interpreter's end closes the one generator that there is.

    Args:
        items: what the node sends.
        seems_alive: asks it.
        close: ends its connection, which ends `items` with an error.
        failed: told of the error that ended `items`.
        over: told that no more are read, be it more than once.
    """

    def __init__(
        self,
        items: AsyncGenerator[T],
        *,
        seems_alive: Callable[[], Awaitable[bool]],
        close: Callable[[], None],
        failed: Callable[[EdgewardError], None],
        over: Callable[[], None],
    ) -> None:
        self._items = items
        self._seems_alive = seems_alive
        self._close = close
        self._failed = failed
        self._over = over
        self._waits_since_s: float | None = None
        self._watch: asyncio.Future[None] | None = None

    async def asend(self, _value: None) -> T:
        """The next item."""
        self._waits_since_s = asyncio.get_running_loop().time()
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._cut_off_when_dead())
        try:
            return await anext(self._items)
        except BaseException as error:
            self._over()
            await ended(self._watch)
            if isinstance(error, EdgewardError):
                self._failed(error)
            raise
        finally:
            self._waits_since_s = None

    async def athrow(self, kind: Any, value: Any = None, trace: Any = None) -> T:
        """Raise inside of what makes the items."""
        return await self._items.athrow(kind, value, trace)

    async def aclose(self) -> None:
        """Stop watching and reading."""
        self._over()
        if self._watch is not None:
            await ended(self._watch)
        await self._items.aclose()

    async def _cut_off_when_dead(self) -> None:
        clock_s = asyncio.get_running_loop().time
        since_s, pause_s = self._waits_since_s, FIRST_CHECK_LEAST_S
        due_s = clock_s() + pause_s
        while True:
            await asyncio.sleep(due_s - clock_s())
            if since_s != self._waits_since_s:
                since_s, pause_s = self._waits_since_s, FIRST_CHECK_LEAST_S
                due_s = (clock_s() if since_s is None else since_s) + pause_s
            elif since_s is None or await self._seems_alive() or since_s != self._waits_since_s:
                pause_s = next_check_s(pause_s)
                due_s = clock_s() + pause_s
            else:
                self._close()
                return


async def ended(task: asyncio.Future[T]) -> None:
    """Cancel what still runs, and see its end."""
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    elif not task.cancelled():
        task.exception()  # marks it as seen
