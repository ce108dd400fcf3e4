"""Why nodes are not in a ranked list: each one's state, in words, for people who ask `edgeward route --all`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.api import LeftOut
from origin.geo.refusal import doing, fitting

if TYPE_CHECKING:
    from collections.abc import Collection

    from origin.fleet import FleetView
    from origin.geo.choose import Ask
    from origin.standing import Standing

EXPLAINED_LIMIT_COUNT = 256


def left_out(view: FleetView, ask: Ask, listed: Collection[str]) -> tuple[LeftOut, ...]:
    """The nodes that are not listed, with the reason of each, by node id; at most 256."""
    outside = [standing for standing in view.standings if standing.report.node_id not in listed]
    return tuple(
        LeftOut(standing.report.node_id, standing.report.label, _why(standing, ask))
        for standing in outside[:EXPLAINED_LIMIT_COUNT]
    )


def _why(standing: Standing, ask: Ask) -> str:
    reference, report = ask.reference, standing.report
    models = fitting(standing, reference, ask.any_channel)
    other_channel = reference.version is None and report.channel != reference.channel
    if models and other_channel and standing.state in {"up", "suspect"}:
        return f"follows the channel {report.channel}, and others on {reference.channel} answer"
    if models:
        return doing(standing, models, ask.exclude)
    held = [model.version for model in report.models if model.name == reference.name]
    if not held:
        return f"does not hold {reference.name}"
    if reference.version is not None:
        return f"holds {', '.join(held)}, not {reference.version}"
    return f"follows the channel {report.channel}, not {reference.channel}"
