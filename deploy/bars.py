"""How far long work is: live bars on a terminal; elsewhere one plain line now and then, so that a log shows life."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from deploy.sizes import human_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from rich.console import Console

    from origin.api_fleet import NodeView
    from origin.build.step import StepProgress
    from registry import progress as registry_progress

_LINE_EVERY_S = 10.0
_WIDTH = 30


class _Bars:
    """Bars that are gone when the work is over; where nobody can watch them, a line for every 10 s of work."""

    def __init__(
        self, console: Console, *, bars: Progress, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._bars = bars
        # rich would end its bars with an empty line in a file.
        self._live = console.is_interactive
        self._now_s = now_s
        self._told_s = now_s()

    def _tell(self, line: str) -> None:
        """Where there are no bars: print this line, unless the last one is younger than 10 s."""
        now_s = self._now_s()
        if not self._live and now_s - self._told_s >= _LINE_EVERY_S:
            self._told_s = now_s
            self._console.print(f"   {line}", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bars.stop()


class BytesBar(_Bars):
    """One bar of the bytes that one long piece of work has done."""

    def __init__(self, console: Console, title: str, *, now_s: Callable[[], float] = time.monotonic) -> None:
        columns = (
            TextColumn("   {task.description}", markup=False),
            BarColumn(bar_width=_WIDTH),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        super().__init__(console, bars=Progress(*columns, console=console, transient=True), now_s=now_s)
        self._title = title
        self._task = self._bars.add_task(title, total=None)

    def show(self, progress: registry_progress.Progress) -> None:
        """The hook that `registry` calls."""
        words = [self._title, progress.step, f"from {progress.source}" if progress.source else ""]
        description = " ".join(word for word in words if word)
        done, total = progress.done_bytes, progress.total_bytes
        self._bars.update(self._task, description=description, completed=done, total=total or None)
        whole = f" of {human_bytes(total)}" if total else ""
        self._tell(f"{description}: {human_bytes(done)}{whole}")


class WorkBar(_Bars):
    """One bar for one piece of work after another: a build's steps."""

    def __init__(self, console: Console, *, now_s: Callable[[], float] = time.monotonic) -> None:
        columns = (
            TextColumn("   {task.description}", markup=False),
            BarColumn(bar_width=_WIDTH),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(),
        )
        super().__init__(console, bars=Progress(*columns, console=console, transient=True), now_s=now_s)
        self._what = ""
        self._task = self._bars.add_task("", total=None, state="", visible=False)

    def begun(self, what: str) -> None:
        """Something begins."""
        self._what = what
        self._bars.reset(self._task, total=None, description=what, state="", visible=True)
        self._say(what)

    def progressed(self, progress: StepProgress) -> None:
        """It is so far."""
        state = f"{progress.done} of {progress.total} {progress.unit}  {progress.note}".rstrip()
        self._bars.update(self._task, completed=progress.done, total=progress.total or None, state=state)
        self._tell(f"{self._what}: {state}")

    def waiting(self, what: str) -> None:
        """Somebody else is at it."""
        self._say(f"{what}: another build is at it, waiting for that")

    def ended(self, what: str, took_s: float) -> None:
        """It is done."""
        self._bars.update(self._task, visible=False)
        self._say(f"{what}: done in {took_s:.1f} s")

    def _say(self, line: str) -> None:
        self._console.print(f"   {line}", markup=False, highlight=False, soft_wrap=True)


class ServingBars(_Bars):
    """One bar for each node: how far it is from serving what is wanted."""

    def __init__(
        self,
        console: Console,
        wanted: Sequence[tuple[str, str]],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        columns = (
            TextColumn("   {task.description:<12}", markup=False),
            BarColumn(bar_width=_WIDTH),
            TextColumn("{task.fields[state]}", markup=False),
        )
        super().__init__(console, bars=Progress(*columns, console=console, transient=True), now_s=now_s)
        self._wanted = wanted
        self._tasks: dict[str, TaskID] = {}

    def show(self, views: Sequence[NodeView]) -> None:
        """The nodes as the origin sees them now."""
        states = []
        for view in views:
            node_id = view.report.node_id
            if node_id not in self._tasks:
                self._tasks[node_id] = self._bars.add_task(node_id, total=1.0, state="joining")
            models = [m for m in view.report.models if (m.name, m.version) in self._wanted]
            done = sum(
                1.0 if m.state in {"asleep", "ready"} else _fraction(m.fetched_bytes, m.fetch_total_bytes)
                for m in models
            )
            state = ", ".join(f"{m.name}@{m.version} {m.state.replace('_', ' ')}" for m in models) or "joined"
            completed = done / len(self._wanted) if self._wanted else 1.0
            self._bars.update(self._tasks[node_id], completed=completed, state=state)
            states.append(f"{node_id}: {state}")
        self._tell("; ".join(states) or "no node has joined yet")


def _fraction(done: int, total: int) -> float:
    """Loading comes after fetching, so fetching is at most nine tenths of the way."""
    return 0.9 * done / total if total else 0.0
