"""Part: what one part of a benchmark gives to the whole: its figures, what is required of them, and the samples."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Part:
    """As `bench_report.finish` takes them; `packages` are distributions whose versions belong to the result."""

    figures: dict
    required: dict = field(default_factory=dict)
    runs: list = field(default_factory=list)
    peers: dict = field(default_factory=dict)
    absent: dict = field(default_factory=dict)
    packages: tuple = ()
