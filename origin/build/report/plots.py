"""Which plots a report has: quality against bytes and against speed, for every measure of quality there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.evaluate.figures import FIGURES
from origin.build.gates import bound
from origin.build.report.plot import Axis, Point, draw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from origin.build.evaluate.figures import Figure
    from origin.build.gates import Limit
    from origin.build.report.rows import Report, ReportRow

_MEGABYTE = 1e-6
QUALITIES = {
    "kl_mean": "KL divergence from the source, nats",
    "nn10": "ten nearest neighbours kept, share",
    "retrieval_share": "retrieval against the source's, share",
    "probe_share": "linear probe against the source's, share",
}
_AGAINST = {
    "wire_bytes": Axis(title="MB on the wire", less=True, factor=_MEGABYTE),
    "decode_speedup": Axis(title="tokens written, times as fast", less=False),
    "encode_speedup": Axis(title="texts read, times as fast", less=False),
}
_LEAST_POINTS_COUNT = 2


def plots_of(report: Report) -> Iterator[tuple[str, str]]:
    """A heading and an SVG for each pair of figures that at least two variants have."""
    for quality, title in QUALITIES.items():
        up = Axis(title=title, less=FIGURES[quality].better == "less")
        for against, across, words in _across(report):
            rows = [row for row in report.rows if _has(row, quality) and _has(row, against)]
            if len(rows) < _LEAST_POINTS_COUNT:
                continue
            points = [
                Point(
                    label=row.variant,
                    x=row.evaluation.figures[against],
                    y=row.evaluation.figures[quality],
                    passed=row.verdict.passed,
                )
                for row in rows
            ]
            name = f"{quality}-{against}".replace("@", "-").replace("_", "-")
            yield f"{title} against {words}", draw(points, across, up, name=name, limit=_limit(rows, quality))


def _across(report: Report) -> Iterator[tuple[str, Axis, str]]:
    """What quality is held against: bytes, and each speed, against the source or against one sibling."""
    for name, axis in _AGAINST.items():
        there = {
            each for row in report.rows for each in row.evaluation.figures if each.partition("@")[0] == name
        }
        for full in sorted(there):
            sibling = full.partition("@")[2]
            beside = "" if name == "wire_bytes" else f" as {sibling or 'the source'}"
            title = f"{axis.title}{beside}"
            yield full, Axis(title=title, less=axis.less, factor=axis.factor), title


def _has(row: ReportRow, name: str) -> bool:
    figure: Figure | None = row.evaluation.figures.get(name)
    return figure is not None and figure.value is not None


def _limit(rows: list[ReportRow], quality: str) -> float | None:
    """The limit that all variants were held against, if it was the same one."""
    limits: list[Limit | None] = [
        next((each.limit for each in row.verdict.rows if each.name == quality), None) for row in rows
    ]
    first = limits[0]
    if first is None or any(each != first for each in limits):
        return None
    return bound(first.max if FIGURES[quality].better == "less" else first.min, quality)
