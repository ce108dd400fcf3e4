"""An answer as one request hears it, event by event, whether it is kept, being computed, or begun just now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge_node.continuation import identity_of
from edge_node.engines import Delta, Finished, Progress, Started
from edge_node.errors import EngineFailedError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_node.account import Account
    from edge_node.cache.answers import Tape
    from edge_node.cache.flights import Listener
    from edge_node.computation import Heard
    from edge_node.residents import Lease
    from edge_node.telemetry import Metrics


class Generation:
    """An answer as one request hears it, event by event; `Answering.generate` makes it and ends it.

    Attributes:
        answer_id: what the answer is called; a kept one and one that others hear too keep their name.
        created_unix_s: when it was computed.
        progress: how far it is, before the first event.
        wait_s: how long it will still wait for a slot, if that is known.
    """

    def __init__(
        self,
        lease: Lease,
        account: Account,
        metrics: Metrics,
        clock: Callable[[], float],
        *,
        created_unix_s: int,
    ) -> None:
        self.release = f"{lease.name}@{lease.version}"
        self.fingerprint = lease.ready.fingerprint
        self.answer_id = account.answer_id
        self.created_unix_s = created_unix_s
        self.progress: Progress | None = None
        self.wait_s: Callable[[], float | None] = lambda: None
        self._name = lease.name
        self._lease = lease
        self._account = account
        self._metrics = metrics
        self._clock = clock
        self._kept: list[Heard] = []
        self._listener: Listener[Heard] | None = None
        self._begun = False

    def identity(self, *, deterministic: bool) -> str:
        """What another node must have for this answer to go on there."""
        return identity_of(self._lease, deterministic=deterministic)

    def play(self, tape: Tape) -> None:
        """Tell a kept answer."""
        self._kept = [tape.finished, *reversed(tape.deltas), tape.started]
        self.created_unix_s = tape.created_unix_s
        # The dialect of this request may have another word before the number.
        self.answer_id = f"{self.answer_id.rpartition('-')[0]}-{tape.answer_id.rpartition('-')[2]}".lstrip(
            "-"
        )

    def hear(self, listener: Listener[Heard]) -> None:
        """Tell what is being computed."""
        self._listener = listener
        self._take_name(*listener.name)

    async def next_event(
        self, wait_s: float | None = None, *, tells_progress: bool = False
    ) -> Started | Delta | Finished | None:
        """The next event; None when `wait_s` have passed without one, and then it may be asked for again.

        With `tells_progress` it is None also when there is news in `progress`.

        Raises:
            EngineFailedError: the engine broke.
            RequestInvalidError: the engine refuses the request.
            OverloadedError: the client's deadline has passed and the engine has not begun.
        """
        if self._kept:
            event = self._kept.pop()
        else:
            heard = await self._heard(wait_s, tells_progress=tells_progress)
            # A deadline may be up a moment before the clock says so: who waits without end waits that moment, too.
            while heard is None and wait_s is None and not tells_progress:
                heard = await self._heard(wait_s, tells_progress=False)
            if heard is None:
                return None
            event = heard
        assert not isinstance(event, Progress)
        self._note(event)
        return event

    def standing(self) -> tuple[str, dict[str, float]]:
        """In a word and figures how far it is: queued, reading or answering."""
        if self._begun:
            return "answering", {}
        progress, facts = self.progress, {}
        if progress is not None and (progress.read_tokens or not progress.ahead_count):
            return "reading", {"percent": 100 * progress.read_tokens // max(1, progress.prompt_tokens)}
        if progress is not None:
            facts["place"] = float(progress.ahead_count)
        wait_s = self.wait_s()
        if wait_s:
            facts["eta_s"] = round(wait_s, 1)
        return "queued", facts

    async def first_event(
        self, patience_s: float, *, told_patience_s: float = 0.5
    ) -> Started | Delta | Finished | None:
        """The first event, for a stream that has not begun; None when it should begin without.

        Until then an error still has its own status. Once the engine has told of progress the prompt is known to
        fit, so a shorter patience will do.
        """
        event = await self.next_event(patience_s, tells_progress=True)
        if event is None and self.progress is not None:
            event = await self.next_event(min(patience_s, told_patience_s))
        return event

    async def close(self) -> None:
        """Leave."""
        if self._listener is not None:
            await self._listener.close()

    async def _heard(
        self, wait_s: float | None, *, tells_progress: bool
    ) -> Started | Delta | Finished | None:
        assert self._listener is not None
        deadline_s = None if self._begun else self._account.deadline_s
        left_s = None if deadline_s is None else max(0.0, deadline_s - self._clock())
        limit_s = left_s if wait_s is None else wait_s if left_s is None else min(wait_s, left_s)
        try:
            async with asyncio.timeout(limit_s):
                event = await self._listener.next_event(passing=tells_progress)
        except TimeoutError:
            if deadline_s is not None and self._clock() >= deadline_s:
                raise OverloadedError(
                    f"{self._name} did not begin with this before its client's time was over; ask another node",
                    retry_after_s=1.0,
                ) from None
            return None
        if event is None:
            raise EngineFailedError(f"the engine of {self.release} ended in the middle of the answer")
        if isinstance(event, Progress):
            self.progress = event
            return None
        return event

    def _take_name(self, answer_id: str, created_unix_s: int) -> None:
        self.created_unix_s = created_unix_s
        # The dialect of this request may have another word before the number.
        word, dash, _ = self.answer_id.rpartition("-")
        self.answer_id = f"{word}{dash}{answer_id.rpartition('-')[2]}"

    def _note(self, event: Started | Delta | Finished) -> None:
        account, now_s, hit = self._account, self._clock(), self._account.cache == "hit"
        if isinstance(event, Started):
            self._begun = True
            if not hit:
                account.started_s = now_s
                account.queue_ms, account.prefill_ms = event.queue_s * 1000, event.prefill_s * 1000
            account.prompt_tokens, account.cached_tokens = event.prompt_tokens, event.cached_tokens
            account.resumed_tokens = account.completion_tokens = event.resumed_tokens
            if event.resumed_tokens:
                self._metrics.answer_continued(after="elsewhere")
        elif isinstance(event, Delta):
            account.completion_tokens += event.tokens_count
            if account.first_token_ms is None:
                account.first_token_ms = (now_s - account.arrived_s) * 1000
                if not hit:
                    self._metrics.first_token(model=self._name, after_s=now_s - account.arrived_s)
        else:
            account.completion_tokens = event.completion_tokens
            account.finish_reason = event.reason
            if not hit:
                account.decode_ms = event.decode_s * 1000
            if event.reason == "cancelled":
                raise EngineFailedError(
                    f"the engine of {self.release} was stopped in the middle of the answer"
                )
