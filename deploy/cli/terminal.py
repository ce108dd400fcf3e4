"""What commands show: tables and bytes for people, one JSON object for programs, bars on standard error."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from registry.progress import ProgressHook


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


def counted(count: int, thing: str) -> str:
    """A number of things in words, such as `1 request` or `2 requests`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """The text without characters that would steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def dim(text: str) -> None:
    """A line of secondary information on standard error, dimmed on a terminal."""
    text = printable(text)
    print(f"\x1b[2m{text}\x1b[0m" if sys.stderr.isatty() else text, file=sys.stderr)


def passing(text: str) -> None:
    """A line on standard error that the next one takes the place of; nothing where that is no terminal."""
    if sys.stderr.isatty():
        words = f"\x1b[2m{printable(text)}\x1b[0m" if text else ""
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


@contextmanager
def progress_bar(what: str) -> Iterator[ProgressHook]:
    """A bar with bytes, rate and time left on standard error; where that is no terminal, a line every 10 s."""
    from rich.console import Console

    from deploy.bars import BytesBar

    with BytesBar(Console(stderr=True), what) as bar:
        yield bar.show
