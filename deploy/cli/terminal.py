"""What commands show: tables and bytes for people, one JSON object for programs, progress on a terminal alone."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from registry.progress import Progress, ProgressHook


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """`--json`, in the same words everywhere."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def show_json(plain: Any) -> None:
    """One JSON object on standard output; structs and dataclasses become objects."""
    import msgspec

    print(json.dumps(msgspec.to_builtins(plain), ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> None:
    """A table on standard output; the columns in `numbers` are aligned right. Pipes get full width."""
    print(table_text(columns, rows, numbers=numbers))


def table_text(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Aligned columns as text; what came from other machines loses its control characters."""
    cells = [[printable(cell) for cell in row] for row in [columns, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text without characters that would steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def dim(text: str) -> None:
    """A line of secondary information on standard error, dimmed on a terminal."""
    text = printable(text)
    print(f"\x1b[2m{text}\x1b[0m" if sys.stderr.isatty() else text, file=sys.stderr)


def human_bytes(count: float) -> str:
    """`98.1 MB`; decimal units, three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


@contextmanager
def progress_bar(what: str) -> Iterator[ProgressHook]:
    """A bar with bytes, rate and time left on standard error; nothing where that is no terminal."""
    from registry.progress import ignore_progress

    if not sys.stderr.isatty():
        yield ignore_progress
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)

        def show(progress: Progress) -> None:
            words = [what, progress.step, f"from {progress.source}" if progress.source else ""]
            bars.update(
                task,
                description=" ".join(word for word in words if word),
                completed=progress.done_bytes,
                total=progress.total_bytes or None,
            )

        yield show
