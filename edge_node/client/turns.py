"""Who may send a second request now: whoever the budget does not allow one waits for its turn instead of failing."""

from __future__ import annotations

import asyncio
from collections import deque

from edge_node.client.budget import RetryBudget


class Turns:
    """The retry budget of one client, with those that wait for it, first come, first served."""

    def __init__(self) -> None:
        self._budget = RetryBudget()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def begin(self) -> None:
        """A call starts."""
        self._budget.begin()
        self._wake()

    def end(self) -> None:
        """A call has its first byte or has failed."""
        self._budget.end()

    def take(self) -> bool:
        """Whether a second request may be sent at once; if so, it is counted until `give_back`."""
        return self._budget.take()

    async def wait(self) -> None:
        """Wait until a second request may be sent; it is counted until `give_back`."""
        while not self._budget.take():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()  # it may have been this one's turn
                raise

    def give_back(self) -> None:
        """A second request is over."""
        self._budget.give_back()
        self._wake()

    def _wake(self) -> None:
        room_count = self._budget.allowed_count - self._budget.taken_count
        while self._waiting and room_count > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                room_count -= 1
