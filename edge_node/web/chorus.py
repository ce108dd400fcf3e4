"""Several generations for one request, heard as one: the choices of `n`, and of several prompts.

The choices of one prompt begin once the first of them has read it, so that they need not read it again.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from edge_node.engines import Delta, Finished, Started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from edge_node.answer import Ability, Account, Answering, Generation
    from edge_node.engines import Generate

Heard = Started | Delta | Finished


class Chorus:
    """The generations of one request; entering it begins them, leaving it ends them.

    Args:
        account: the request's; the generations' are added up in it when they end.
        per_prompt_count: how many commands in a row have the same prompt.
    """

    def __init__(
        self,
        answering: Answering,
        account: Account,
        model: str,
        ability: Ability,
        commands: Sequence[Generate],
        *,
        per_prompt_count: int,
    ) -> None:
        self._answering = answering
        self._account = account
        self._model = model
        self._ability: Ability = ability
        self._commands = commands
        self._per_prompt_count = per_prompt_count
        self._stack = AsyncExitStack()
        self._accounts: list[Account] = []
        self._leaders: dict[int, Generation] = {}
        self._heard: asyncio.Queue[tuple[int, Heard | Exception]] = asyncio.Queue()
        self._has_read: dict[int, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        many = len(self._commands) > 1
        self._accounts = [
            self._part(index) if many else self._account for index in range(len(self._commands))
        ]
        try:
            for index in range(0, len(self._commands), self._per_prompt_count):
                self._leaders[index] = await self._stack.enter_async_context(self._generating(index))
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        if many:
            self._has_read = {index: asyncio.Event() for index in self._leaders}
            self._tasks = [asyncio.create_task(self._follow(index)) for index in range(len(self._commands))]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await self._stack.aclose()
            self.add_up()

    @property
    def first(self) -> Generation:
        """The first generation, whose name and release are the request's."""
        return self._leaders[0]

    async def first_event(self, patience_s: float) -> tuple[int, Heard] | None:
        """The first event, for a stream that has not begun; None when it should begin without."""
        if self._tasks:
            return await self.next_event(patience_s)
        event = await self.first.first_event(patience_s)
        return None if event is None else (0, event)

    async def next_event(
        self, wait_s: float | None = None, *, tells_progress: bool = False
    ) -> tuple[int, Heard] | None:
        """The next event of any generation, with its index; None when `wait_s` have passed, or on progress.

        Raises:
            EdgewardError: one of them failed.
        """
        if not self._tasks:
            event = await self.first.next_event(wait_s, tells_progress=tells_progress)
            return None if event is None else (0, event)
        try:
            async with asyncio.timeout(wait_s):
                index, heard = await self._heard.get()
        except TimeoutError:
            return None
        if isinstance(heard, Exception):
            raise heard
        return index, heard

    def usage_tokens(self) -> tuple[int, int, int]:
        """Tokens of the prompts, each once; of all answers; and of the prompts those that were not read again."""
        firsts = self._accounts[:: self._per_prompt_count]
        return (
            sum(account.prompt_tokens for account in firsts),
            sum(account.completion_tokens for account in self._accounts),
            sum(account.cached_tokens for account in firsts),
        )

    def _generating(self, index: int) -> AbstractAsyncContextManager[Generation]:
        account, command = self._accounts[index], self._commands[index]
        return self._answering.generate(account, self._model, self._ability, command)

    async def _follow(self, index: int) -> None:
        leader = index - index % self._per_prompt_count
        try:
            if index == leader:
                await self._tell(index, self._leaders[index])
            else:
                await self._has_read[leader].wait()
                async with self._generating(index) as generation:
                    await self._tell(index, generation)
        except Exception as error:  # noqa: BLE001 - it is raised where the request is answered
            self._heard.put_nowait((index, error))

    async def _tell(self, index: int, generation: Generation) -> None:
        event: Heard | None = None
        while not isinstance(event, Finished):
            event = await generation.next_event()
            assert event is not None, "it waits without end"
            if index in self._has_read:
                self._has_read[index].set()
            self._heard.put_nowait((index, event))

    def _part(self, index: int) -> Account:
        answer_id = self._account.answer_id if not index else f"{self._account.answer_id}.{index}"
        return replace(self._account, answer_id=answer_id)

    def add_up(self) -> None:
        """Bring the request's account up to what is known of its generations."""
        total = self._account
        if len(self._commands) == 1 or not self._accounts:
            return
        first = self._accounts[0]
        total.model, total.release = first.model, first.release
        total.asked, total.operation = first.asked, first.operation
        total.queue_ms, total.prefill_ms = first.queue_ms, first.prefill_ms
        total.first_token_ms, total.finish_reason = first.first_token_ms, first.finish_reason
        total.decode_ms = max(
            (part.decode_ms for part in self._accounts if part.decode_ms is not None), default=None
        )
        total.prompt_tokens = sum(part.prompt_tokens for part in self._accounts)
        total.cached_tokens = sum(part.cached_tokens for part in self._accounts)
        total.completion_tokens = sum(part.completion_tokens for part in self._accounts)
        total.cache, total.stamp, total.age_s = None, "", 0.0
        for part in self._accounts:
            if part.cache is not None:
                total.answered_from(part.cache, part.stamp, part.age_s)
