"""The report as one page of HTML that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from origin.build.evaluate.figures import FIGURES
from origin.build.report.plots import plots_of
from origin.build.report.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from origin.build.evaluate.figures import Figure
    from origin.build.gates import GateRow
    from origin.build.report.rows import Report, ReportRow

_MEGABYTE = 1_000_000
_SUMMARY = (
    "kl_mean", "top1", "perplexity_ratio", "cosine_mean", "nn10", "similarity_share", "probe_share",
    "retrieval_share", "bytes", "wire_bytes", "memory_bytes", "decode_speedup", "encode_speedup", "first_token_speedup",
)  # fmt: skip


def page_of(report: Report) -> str:
    """The page."""
    title = escape(f"{report.model} {report.version}: what was built")
    passed = sum(row.verdict.passed for row in report.rows)
    made = datetime.fromtimestamp(report.created_unix_s, UTC)
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    plots = "".join(
        f"<figure><figcaption>{escape(heading)}</figcaption>{drawing}</figure>"
        for heading, drawing in plots_of(report)
    )
    legend = (
        '<p class="legend"><span class="key passed">●</span> passed its gate '
        '<span class="key refused">✕</span> refused <span class="key front">—</span> Pareto front '
        '<span class="key limit">┄</span> limit of the gate; whiskers are 95 % intervals</p>'
    )
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>"
        f"<header><h1>{title}</h1>"
        f"<p>{passed} of {len(report.rows)} variants passed their gates. "
        f'<time datetime="{made.isoformat()}">{made:%Y-%m-%d %H:%M} UTC</time>, '
        f"recipe <code>{escape(report.recipe_sha256[:12])}</code>.</p>{notes}</header>"
        f"<h2>Variants</h2>{_summary(report)}"
        + (f"<h2>Quality, bytes and speed</h2>{legend}<div class='plots'>{plots}</div>" if plots else "")
        + f"<h2>Gates and figures</h2>{''.join(_details(row) for row in report.rows)}"
        "</main></body></html>\n"
    )


def _summary(report: Report) -> str:
    """A table of the figures that decide; a row for each variant."""
    there = [name for name in _SUMMARY if any(name in row.evaluation.figures for row in report.rows)]
    heads = "".join(
        f'<th scope="col" title="{escape(FIGURES[name].text)}">{_head(name)}</th>' for name in there
    )
    lines = []
    for row in report.rows:
        cells = "".join(f"<td>{_cell(name, row.evaluation.figures.get(name))}</td>" for name in there)
        lines.append(f'<tr><th scope="row">{escape(row.variant)}</th><td>{_badge(row)}</td>{cells}</tr>')
    return (
        '<div class="wide"><table><thead><tr><th scope="col">variant</th><th scope="col">gate</th>'
        f"{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _badge(row: ReportRow) -> str:
    kind, sign = ("passed", "●") if row.verdict.passed else ("refused", "✕")
    return f'<span class="badge {kind}">{sign} {kind}</span>'


def _head(name: str) -> str:
    unit = "MB" if FIGURES[name].unit == "bytes" else FIGURES[name].unit
    words = name.removesuffix("_bytes").replace("_", " ")
    return escape(words) + (f' <span class="unit">{escape(unit)}</span>' if unit else "")


def _cell(name: str, figure: Figure | None) -> str:
    if figure is None:
        return '<span class="none">none</span>'
    return escape(_number(name, figure.value))


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "not a number"
    if FIGURES[name.partition("@")[0]].unit == "bytes":
        return f"{value / _MEGABYTE:.2f}"
    return f"{value:.4g}"


def _details(row: ReportRow) -> str:
    """All that is known of one variant."""
    evaluation = row.evaluation
    gated = {each.name for each in row.verdict.rows}
    rest = [name for name in evaluation.figures if name not in gated]
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in row.verdict.reasons)
    facts = [
        *(f"{name.replace('_', ' ')}: {count}" for name, count in evaluation.sizes.items()),
        f"texts {evaluation.texts_sha256[:12]}",
        f"seed {evaluation.seed}",
        *(f"{name} {number}" for name, number in evaluation.versions.items()),
    ]
    steps = "".join(f"<li>{escape(step)}</li>" for step in row.steps)
    opened = "" if row.verdict.passed else " open"
    return (
        f"<details{opened}><summary>{escape(row.variant)} {_badge(row)}</summary>"
        + (f'<ul class="reasons">{reasons}</ul>' if reasons else "")
        + (f"<h3>Made by</h3><ol>{steps}</ol>" if steps else "")
        + _gate_table(row.verdict.rows)
        + (f"<h3>Other figures</h3>{_figure_table(rest, row)}" if rest else "")
        + f'<p class="facts">{escape("; ".join(facts))}</p></details>'
    )


def _gate_table(rows: Iterable[GateRow]) -> str:
    lines = []
    for row in rows:
        limits = [
            f"{word} {escape(str(edge))}"
            for word, edge in (("at least", row.limit.min), ("at most", row.limit.max))
            if edge is not None
        ]
        kind, sign = ("passed", "●") if row.passed else ("refused", "✕")
        lines.append(
            f'<tr><th scope="row">{escape(row.name)}</th>{_interval(row.name, row.figure)}<td>{", ".join(limits)}</td>'
            f'<td><span class="badge {kind}">{sign} {kind}</span></td></tr>'
        )
    return _table(("gate", "value", "95 % interval", "limit", "verdict"), lines)


def _figure_table(names: Iterable[str], row: ReportRow) -> str:
    def lines() -> Iterator[str]:
        for name in names:
            meaning = FIGURES[name.partition("@")[0]]
            told = meaning.text + ("" if meaning.repeatable else "; of this machine")
            yield (
                f'<tr><th scope="row">{escape(name)}</th>{_interval(name, row.evaluation.figures[name])}'
                f"<td>{escape(told)}</td></tr>"
            )

    return _table(("figure", "value", "95 % interval", "meaning"), lines())


def _interval(name: str, figure: Figure | None) -> str:
    if figure is None:
        return "<td>not measured</td><td></td>"
    unit = "MB" if FIGURES[name.partition("@")[0]].unit == "bytes" else FIGURES[name.partition("@")[0]].unit
    shown = _number(name, figure.value) + (f" {unit}" if unit not in {"", "share", "times"} else "")
    if figure.low == figure.high:
        return f"<td>{escape(shown)}</td><td></td>"
    return f"<td>{escape(shown)}</td><td>{_number(name, figure.low)} to {_number(name, figure.high)}</td>"


def _table(heads: Iterable[str], lines: Iterable[str]) -> str:
    first = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f'<div class="wide"><table><thead><tr>{first}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
