"""A plot as SVG: variants by two figures, with their intervals, the Pareto front and the limit of the gate."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from origin.build.report.pareto import front
from origin.build.report.scale import scale_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from origin.build.evaluate.figures import Figure
    from origin.build.report.scale import Scale

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 24, 20, 52
_LETTER_WIDTH = 6.4
_LABEL_HEIGHT = 13.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is along one side; `factor` takes figures to what is written, such as bytes to megabytes."""

    title: str
    less: bool
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A variant in a plot."""

    label: str
    x: Figure
    y: Figure
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A point on the drawing, and the ends of its intervals."""

    point: Point
    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]


def draw(points: Sequence[Point], across: Axis, up: Axis, *, name: str, limit: float | None) -> str:
    """The plot; `limit` is drawn across it where all variants have the same one."""
    ends_x = [value * across.factor for point in points for value in _values(point.x)]
    ends_y = [value * up.factor for point in points for value in _values(point.y)]
    if limit is not None:
        ends_y.append(limit * up.factor)
    x_scale = scale_of(ends_x, _LEFT, WIDTH - _RIGHT)
    y_scale = scale_of(ends_y, HEIGHT - _BOTTOM, _TOP)
    drawn = [_placed(point, across, up, x_scale, y_scale) for point in points]
    # A variant that its gate refused is no choice that anybody has.
    able = [index for index, point in enumerate(points) if point.passed] or list(range(len(points)))
    values = [(points[index].x.value or 0.0, points[index].y.value or 0.0) for index in able]
    best = [able[place] for place in front(values, less_x=across.less, less_y=up.less)]
    words = ", ".join(points[index].label for index in best)
    told = escape(f"{len(points)} variants; on the Pareto front: {words}. The tables have the same numbers.")
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-title {name}-text">',
        f'<title id="{name}-title">{escape(up.title)} against {escape(across.title)}</title>',
        f'<desc id="{name}-text">{told}</desc>',
        *_grid(x_scale, y_scale, across, up),
    ]
    taken = []
    if limit is not None:
        place = y_scale.place(limit * up.factor)
        parts += _gate_line(place, f"gate {limit * up.factor:g}")
        taken.append((WIDTH - _RIGHT - 70.0, place - 16, WIDTH - _RIGHT, place + 1))
    parts.append(f'<polyline class="front" points="{_stairs([drawn[index] for index in best], across)}"/>')
    parts += [_mark(each, index in best, across, up) for index, each in enumerate(drawn)]
    parts += _labels(drawn, taken)
    return "\n".join([*parts, "</svg>"])


def _gate_line(place: float, words: str) -> list[str]:
    right = WIDTH - _RIGHT
    return [
        f'<line class="limit" x1="{_LEFT}" x2="{right}" y1="{place:.1f}" y2="{place:.1f}"/>',
        f'<text class="limit-text" x="{right}" y="{place - 5:.1f}" text-anchor="end">{escape(words)}</text>',
    ]


def _stairs(best: Sequence[Drawn], across: Axis) -> str:
    """The line along the front: what lies between two of its points is no better than the worse of them in each way."""
    corners: list[tuple[float, float]] = []
    for each in best:
        if corners:
            corners.append((each.x, corners[-1][1]) if across.less else (corners[-1][0], each.y))
        corners.append((each.x, each.y))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _values(figure: Figure) -> list[float]:
    return [value for value in (figure.low, figure.value, figure.high) if value is not None]


def _placed(point: Point, across: Axis, up: Axis, x_scale: Scale, y_scale: Scale) -> Drawn:
    x_values = [x_scale.place(value * across.factor) for value in _values(point.x)]
    y_values = [y_scale.place(value * up.factor) for value in _values(point.y)]
    return Drawn(
        point=point,
        x=x_scale.place((point.x.value or 0.0) * across.factor),
        y=y_scale.place((point.y.value or 0.0) * up.factor),
        x_ends=(min(x_values), max(x_values)),
        y_ends=(min(y_values), max(y_values)),
    )


def _grid(x_scale: Scale, y_scale: Scale, across: Axis, up: Axis) -> list[str]:
    floor = HEIGHT - _BOTTOM
    parts = []
    for tick in x_scale.ticks():
        place = x_scale.place(tick)
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{floor}"/>')
        parts.append(
            f'<text class="tick" x="{place:.1f}" y="{floor + 18}" text-anchor="middle">{tick:.4g}</text>'
        )
    for tick in y_scale.ticks():
        place = y_scale.place(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{_LEFT - 8}" y="{place + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        )
    middle = (_TOP + floor) / 2
    parts.append(
        f'<text class="axis" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"{escape(_titled(across))}</text>"
    )
    parts.append(
        f'<text class="axis" transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(_titled(up))}</text>"
    )
    return parts


def _titled(axis: Axis) -> str:
    return f"{axis.title} ({'less' if axis.less else 'more'} is better)"


def _mark(drawn: Drawn, best: bool, across: Axis, up: Axis) -> str:
    x, y, point = drawn.x, drawn.y, drawn.point
    whiskers = (
        f'<line class="whisker" x1="{drawn.x_ends[0]:.1f}" x2="{drawn.x_ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{drawn.y_ends[0]:.1f}" y2="{drawn.y_ends[1]:.1f}"/>'
    )
    kind = "passed" if point.passed else "refused"
    shape = (
        f'<circle class="{kind}{" best" if best else ""}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
        if point.passed
        else f'<path class="{kind}" d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"/>'
    )
    told = (
        f"{point.label}: {across.title} {(point.x.value or 0) * across.factor:.4g}, "
        f"{up.title} {(point.y.value or 0) * up.factor:.4g}, {kind}"
    )
    return f"<g><title>{escape(told)}</title>{whiskers}{shape}</g>"


def _labels(drawn: Sequence[Drawn], also_taken: Sequence[Box]) -> list[str]:
    """Names beside their points: to the right, else to the left, above or below, where no other name is."""
    taken = [*also_taken, *((each.x - 7, each.y - 7, each.x + 7, each.y + 7) for each in drawn)]
    taken += [(each.x_ends[0], each.y - 1, each.x_ends[1], each.y + 1) for each in drawn]
    taken += [(each.x - 1, each.y_ends[0], each.x + 1, each.y_ends[1]) for each in drawn]
    parts = []
    for each in drawn:
        width = len(each.point.label) * _LETTER_WIDTH
        tries = [
            (each.x + 10, each.y + 4),
            (each.x - 10 - width, each.y + 4),
            (each.x - width / 2, each.y - 11),
            (each.x - width / 2, each.y + 20),
            (each.x + 10, each.y - 9),
            (each.x + 10, each.y + 17),
        ]
        x, y = next((spot for spot in tries if _free(spot, width, taken)), tries[0])
        taken.append((x, y - _LABEL_HEIGHT + 3, x + width, y + 3))
        parts.append(f'<text class="label" x="{x:.1f}" y="{y:.1f}">{escape(each.point.label)}</text>')
    return parts


def _free(
    spot: tuple[float, float], width: float, taken: Sequence[tuple[float, float, float, float]]
) -> bool:
    x, y = spot
    left, top, right, bottom = x, y - _LABEL_HEIGHT + 3, x + width, y + 3
    inside = left >= _LEFT and right <= WIDTH - 4 and top >= 4 and bottom <= HEIGHT - _BOTTOM
    return inside and not any(
        left < other[2] and right > other[0] and top < other[3] and bottom > other[1] for other in taken
    )
