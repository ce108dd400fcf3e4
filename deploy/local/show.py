"""What a person sees while the local network works: bars for bytes, states of nodes, sizes in words."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Console

    from origin.api import NodeView
    from registry import progress as registry_progress

_KILO = 1000


def human_bytes(count: float) -> str:
    """A size in decimal units, such as `98.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < _KILO:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KILO
    return f"{count:.2f} GB"


class PublishBar:
    """A bar of the bytes that one long piece of work has done; gone when it is over."""

    def __init__(self, console: Console, title: str) -> None:
        self._progress = Progress(
            TextColumn("   {task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._title = title
        self._task = self._progress.add_task(title, total=None)

    def show(self, progress: registry_progress.Progress) -> None:
        """The hook that `registry` calls."""
        self._progress.update(
            self._task,
            description=f"{self._title} {progress.step}",
            completed=progress.done_bytes,
            total=progress.total_bytes or None,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class ServingWatch:
    """One bar for each node: how far it is from serving what is wanted."""

    def __init__(self, console: Console, wanted: Sequence[tuple[str, str]]) -> None:
        self._wanted = wanted
        self._progress = Progress(
            TextColumn("   {task.description:<12}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[state]}"),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, views: Sequence[NodeView]) -> None:
        """The nodes as the origin sees them now."""
        for view in views:
            node_id = view.report.node_id
            if node_id not in self._tasks:
                self._tasks[node_id] = self._progress.add_task(node_id, total=1.0, state="joining")
            models = [m for m in view.report.models if (m.name, m.version) in self._wanted]
            done = sum(
                1.0 if m.state == "ready" else _fraction(m.fetched_bytes, m.fetch_total_bytes) for m in models
            )
            state = ", ".join(f"{m.name}@{m.version} {m.state.replace('_', ' ')}" for m in models)
            self._progress.update(
                self._tasks[node_id], completed=done / len(self._wanted), state=state or "joined"
            )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def _fraction(done: int, total: int) -> float:
    """Loading comes after fetching, so fetching is at most nine tenths of the way."""
    return 0.9 * done / total if total else 0.0
