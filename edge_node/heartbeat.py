"""Heartbeat: tells the origin over and over how this node is, and hands on what the origin wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_node.scheduler import Load
    from edge_node.supervisor import Clock
    from origin.api import Directive, ModelReport, NodeReport

log = structlog.get_logger()

_FIRST_PERIOD_S = 1.0
_SHORTEST_S = 0.05
_LONGEST_S = 60.0
_LOST_LONGEST_S = 5.0
_JITTER = 0.1


class Reporting(Protocol):
    """What the heartbeat needs of `origin.client.OriginClient`."""

    async def report(self, report: NodeReport) -> Directive:
        """Send a report; raises EdgewardError."""


class Heartbeat:
    """Reports at the period that the origin asks for, and less often while the origin is away.

    Args:
        compose: the report as of now.
        heard: given each answer.
        jitter: numbers between 0 and 1, so that nodes that start together do not stay together.
    """

    def __init__(
        self,
        *,
        origin: Reporting,
        compose: Callable[[], NodeReport],
        heard: Callable[[Directive], None],
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._origin = origin
        self._compose = compose
        self._heard = heard
        self._clock = clock
        self._jitter = jitter
        self._period_s = _FIRST_PERIOD_S
        self._heard_at_s: float | None = None
        self._failures_count = 0
        self._reports_count = 0
        self._failure = ""
        self._turn = asyncio.Lock()

    @property
    def origin_up(self) -> bool:
        """Whether the last report was answered."""
        return self._heard_at_s is not None and not self._failures_count

    def age_s(self) -> float | None:
        """How old the node's knowledge is: time since the origin last answered; None when it never has."""
        return None if self._heard_at_s is None else self._clock.now_s() - self._heard_at_s

    async def run(self) -> None:
        """Report for ever."""
        while True:
            started_s = self._clock.now_s()
            try:
                await self.beat()
            except Exception as error:  # a defect of ours must not silence the node for good
                log.exception("heartbeat.broke")
                self._lost(f"{type(error).__name__}: {error}")
            pause_s = self._pause_s() * (1 + _JITTER * (self._jitter() - 0.5))
            await self._clock.sleep(max(_SHORTEST_S, started_s + pause_s - self._clock.now_s()))

    async def beat(self) -> bool:
        """Report once, now; whether the origin answered."""
        async with self._turn:  # a later report must not arrive before an earlier one
            try:
                # Numbered, so that one that took a longer way is not taken for the last word.
                self._reports_count += 1
                report = msgspec.structs.replace(self._compose(), number=self._reports_count)
                directive = await self._origin.report(report)
            except EdgewardError as error:
                self._lost(error.message)
                return False
            if not self.origin_up:
                log.info("origin.found", silent_s=self.age_s())
            self._failures_count = 0
            self._failure = ""
            self._heard_at_s = self._clock.now_s()
            self._period_s = min(_LONGEST_S, max(_SHORTEST_S, directive.heartbeat_s))
        self._heard(directive)
        return True

    def _lost(self, reason: str) -> None:
        self._failures_count += 1
        if reason != self._failure:  # once for each reason: a long outage is one line, not one a second
            log.warning("origin.lost", reason=reason)
        self._failure = reason

    def _pause_s(self) -> float:
        if not self._failures_count:
            return self._period_s
        doublings_count = min(self._failures_count - 1, 8)
        return max(self._period_s, min(_LOST_LONGEST_S, self._period_s * (1 << doublings_count)))


def with_load(report: ModelReport, load: Load) -> ModelReport:
    """A model's report with how busy it is; a rate that requests have shown replaces that of the load."""
    measured = load._asdict()
    if load.prefill_tokens_per_s is None:  # as it was when the model was loaded
        measured["prefill_tokens_per_s"] = report.prefill_tokens_per_s
    return msgspec.structs.replace(report, **measured)
