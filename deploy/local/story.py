"""Story: named steps that run one after the other, each with its facts, shown as they happen and at the end."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table

from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console


class StepFailedError(EdgewardError):
    """A step ran, and what it should have shown did not happen."""

    code = "local.step_failed"


@dataclass(slots=True)
class Step:
    """One step's outcome. `facts` are for scripts, `summary` is the line of the table."""

    name: str
    title: str
    ok: bool = False
    took_s: float = 0.0
    summary: str = ""
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Story:
    """The steps so far; the first that fails ends the story."""

    def __init__(self, console: Console, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.steps: list[Step] = []
        self._clock_s = clock_s

    @property
    def ok(self) -> bool:
        """Whether every step truly happened."""
        return bool(self.steps) and all(step.ok for step in self.steps)

    async def tell(self, name: str, title: str, part: Callable[[Step], Awaitable[None]]) -> None:
        """Run one step; its errors are kept in it, and raised.

        Raises:
            EdgewardError: what made the step fail.
        """
        step = Step(name, title)
        self.steps.append(step)
        self.console.print(f"\n[bold]{len(self.steps)}. {title}[/bold]")
        started_s = self._clock_s()
        try:
            await part(step)
            step.ok = True
        except BaseException as error:
            step.error = (
                error.message if isinstance(error, EdgewardError) else f"{type(error).__name__}: {error}"
            )
            raise
        finally:
            step.took_s = self._clock_s() - started_s

    def say(self, text: str) -> None:
        """One line below the step's title; `text` may hold console markup."""
        self.console.print(f"   {text}", highlight=False)

    def table(self) -> Table:
        """All steps, for people."""
        table = Table(title="What happened", title_justify="left", show_lines=False, pad_edge=False)
        table.add_column("", width=2)
        table.add_column("step")
        table.add_column("what was seen", overflow="fold")
        table.add_column("took", justify="right")
        for step in self.steps:
            mark = "[green]✓[/green]" if step.ok else "[red]✗[/red]"
            table.add_row(mark, step.title, step.summary if step.ok else step.error, f"{step.took_s:.1f} s")
        return table

    def as_json(self) -> str:
        """The same report for scripts."""
        steps = [
            {
                "name": s.name,
                "title": s.title,
                "ok": s.ok,
                "took_s": round(s.took_s, 3),
                "error": s.error,
                **s.facts,
            }
            for s in self.steps
        ]
        return json.dumps({"ok": self.ok, "steps": steps}, indent=2, ensure_ascii=False)


def expect(happened: bool, otherwise: str) -> None:
    """Go on only if something truly happened.

    Raises:
        StepFailedError: it did not; `otherwise` says what was seen instead.
    """
    if not happened:
        raise StepFailedError(otherwise)
