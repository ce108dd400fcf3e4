"""The fleet in rows: what `edgeward nodes` shows of each node, and of all together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from deploy.cli.terminal import counted
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from origin.api import ModelReport
    from origin.api_fleet import NodeView

COLUMNS = (
    "NODE",
    "LABEL",
    "STATE",
    "ENROLLED",
    "SEEN",
    "BUSY",
    "QUEUED",
    "HANDED ON",
    "RTTS",
    "PLACE",
    "MODELS",
    "URL",
)
NUMBERS = (4, 5, 6, 7, 8)
STATE_COLUMN = 2
GAP = 2
"""Characters between columns of a live table."""
_MODELS = COLUMNS.index("MODELS")
_MODELS_LEAST = 24
_LEFT_OUT_FIRST = tuple(
    map(COLUMNS.index, ("URL", "PLACE", "ENROLLED", "RTTS", "LABEL", "HANDED ON", "QUEUED"))
)


class Load(NamedTuple):
    """How busy ready models are, added up."""

    busy_count: int
    slots_count: int
    queued_count: int


def row_of(view: NodeView) -> list[str]:
    """One node's cells."""
    report = view.report
    load = load_of([view])
    return [
        report.node_id,
        report.label,
        view.state,
        "yes" if report.enrolled else "no",
        f"{view.age_s:.1f} s",
        f"{load.busy_count}/{load.slots_count}",
        str(load.queued_count),
        handed_on(report.handed_on),
        str(len(report.rtts)),
        f"{report.place.lat:.2f},{report.place.lon:.2f}" if report.place else "?",
        ", ".join(map(model_words, report.models)) or "-",
        report.url,
    ]


def fitted(rows: Sequence[Sequence[str]], width: int) -> tuple[list[int], int]:
    """Which columns of these rows a terminal has room for, and how many characters are left for the models."""
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    shown = list(range(len(COLUMNS)))
    for number in (None, *_LEFT_OUT_FIRST):
        if number is not None:
            shown.remove(number)
        room = width - sum(widths[each] + GAP for each in shown if each != _MODELS)
        if room >= min(widths[_MODELS], _MODELS_LEAST):
            break
    return shown, max(1, min(room, widths[_MODELS]))


def load_of(views: Sequence[NodeView]) -> Load:
    """How busy these nodes are."""
    ready = [model for view in views for model in view.report.models if model.state == "ready"]
    return Load(
        sum(model.busy for model in ready),
        sum(model.slots for model in ready),
        sum(model.queued for model in ready),
    )


def handed_on(by_reason: dict[str, int]) -> str:
    """How many requests went on to other nodes, and mostly why, such as `12 (busy)`."""
    if not by_reason:
        return "0"
    most = max(by_reason, key=lambda reason: (by_reason[reason], reason))
    others = "…" if len(by_reason) > 1 else ""
    return f"{sum(by_reason.values())} ({most}{others})"


def summary(views: Sequence[NodeView]) -> str:
    """The fleet in one line."""
    states = Counter(view.state for view in views)
    load = load_of(views)
    moved_count = sum(sum(view.report.handed_on.values()) for view in views)
    told = ", ".join(
        f"{states[state]} {state}" for state in ("up", "suspect", "draining", "down") if states[state]
    )
    held_count = sum(view.held for view in views)
    held = f" ({held_count} held: silent, and likelier out of hearing than down)" if held_count else ""
    return (
        f"{counted(len(views), 'node')}: {told}{held}; {load.busy_count} of {counted(load.slots_count, 'slot')} busy, "
        f"{load.queued_count} waiting; {moved_count} handed on"
    )


def model_words(model: ModelReport) -> str:
    """A release and how it is, such as `chat@1.2.0 q4_k_m 2/4 busy`."""
    named = f"{model.name}@{model.version}" + (f" {model.variant}" if model.variant else "")
    if model.state == "ready":
        waiting = f" +{model.queued} waiting" if model.queued else ""
        return f"{named} {model.busy}/{model.slots} busy{waiting}"
    if model.state == "fetching" and model.fetch_total_bytes:
        return (
            f"{named} fetching {human_bytes(model.fetched_bytes)} of {human_bytes(model.fetch_total_bytes)}"
        )
    return f"{named} {model.state}" + (f" ({model.detail})" if model.detail else "")
