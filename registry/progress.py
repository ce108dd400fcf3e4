"""Progress: how far a long piece of work is, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One step's state; `total_bytes` is 0 while unknown. `source` says where the bytes come from, if they do."""

    step: str
    done_bytes: int
    total_bytes: int
    source: str = ""


ProgressHook = Callable[[Progress], None]
"""Called often, from any thread; must be quick and must not raise."""


def ignore_progress(_progress: Progress) -> None:
    """Show nothing."""
