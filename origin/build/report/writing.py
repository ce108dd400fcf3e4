"""Writing a report: report.json for programs and report.html for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from origin.build.report.page import page_of
from origin.build.report.rows import Report, ReportRow
from registry.durable import write_durably

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["Report", "ReportRow", "read_report", "write_report"]


def write_report(report: Report, directory: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.html`, each whole or not at all; their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    for_programs, for_people = directory / "report.json", directory / "report.html"
    write_durably(for_programs, msgspec.json.format(msgspec.json.encode(report), indent=1))
    write_durably(for_people, page_of(report).encode())
    return for_programs, for_people


def read_report(file: Path) -> Report:
    """A `report.json`. Raises msgspec.DecodeError where it is none."""
    return msgspec.json.decode(file.read_bytes(), type=Report)
