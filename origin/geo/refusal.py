"""Why no node can answer: the model is unknown, or what each node is doing instead and when to come back."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from origin.errors import ModelUnknownError, NoNodeAvailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from origin.api import CatalogAnswer, ModelReport
    from origin.fleet import FleetView, Standing
    from registry.errors import EdgewardError
    from registry.reference import Reference

UNKNOWN_WAIT_S = 2.0
_SHORTEST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_NAMED_COUNT = 5


def why_nobody(
    view: FleetView,
    reference: Reference,
    any_channel: bool,
    exclude: frozenset[str],
    catalog: CatalogAnswer | None,
) -> EdgewardError:
    """The error for a model that no node can answer for now."""
    unknown = _unknown(view, reference, any_channel, catalog)
    if unknown is not None:
        return unknown
    doings: list[str] = []
    waits_s: list[float] = []
    for standing in view.standings:
        models = fitting(standing, reference, any_channel)
        if not models:
            continue
        others = {model.space_id for model in models} - {reference.space}
        if reference.space and len(others) == len({model.space_id for model in models}):
            doings.append(
                f"{standing.report.node_id} gives vectors of another space ({_listed(sorted(others), ', ')})"
            )
            continue
        doings.append(f"{standing.report.node_id} {doing(standing, models, exclude)}")
        if standing.state in {"up", "suspect"}:
            waits_s.extend(
                wait for model in models if (wait := ready_in_s(standing, model, view.now_s)) is not None
            )
    wait_s = min(max(min(waits_s, default=UNKNOWN_WAIT_S), _SHORTEST_WAIT_S), _LONGEST_WAIT_S)
    if doings:
        what = _listed(doings, "; ")
    elif catalog is None:
        what = "the origin cannot read the catalog yet, and no node that has reported holds it"
    elif view.standings:
        what = f"none of the {len(view.standings)} nodes that have reported holds it"
    else:
        what = "no node has reported to this origin"
    name = bare_with_space(reference) if any_channel else str(reference)
    return NoNodeAvailableError(
        f"no node can answer for {name} now: {what}", param="model", retry_after_s=wait_s
    )


def bare_with_space(reference: Reference) -> str:
    """A model's name, with the space of vectors where one is insisted on."""
    return f"{reference.name}#{reference.space}" if reference.space else reference.name


def ready_in_s(standing: Standing, model: ModelReport, now_s: float) -> float | None:
    """When a release should be ready, from its progress since it was first seen; None where that says nothing."""
    watch = standing.watches.get((model.name, model.version))
    if watch is None:
        return None
    past_s = now_s - watch.since_s
    if model.state == "loading" and model.load_s is not None:
        return model.load_s - past_s
    got_bytes = model.fetched_bytes - watch.since_bytes
    if model.state == "fetching" and past_s > 0 and got_bytes > 0:
        return (model.fetch_total_bytes - model.fetched_bytes) / (got_bytes / past_s) + (model.load_s or 0.0)
    return None


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` or what there is, for the end of a message."""
    names = sorted(known)
    found = difflib.get_close_matches(name, names, n=3)
    if found:
        return f"; did you mean {' or '.join(found)}?"
    return f"; there is {_listed(names, ', ')}" if names else "; nothing has been published yet"


def _unknown(
    view: FleetView, reference: Reference, any_channel: bool, catalog: CatalogAnswer | None
) -> ModelUnknownError | None:
    """The error when neither the catalog nor any node knows the model; None without a catalog to ask."""
    if catalog is None:
        return None
    versions = {(release.name, release.version) for release in catalog.releases}
    channels = {(name, channel) for name, of_name in catalog.channels.items() for channel in of_name}
    for standing in view.standings:
        for model in standing.report.models:
            versions.add((model.name, model.version))
            channels.add((model.name, standing.report.channel))
    name = reference.name
    names = {known for known, _ in versions | channels}
    if name not in names:
        return ModelUnknownError(f"there is no model {name}" + near(name, names), param="model")
    if reference.version is not None and (name, reference.version) not in versions:
        known = {version for owner, version in versions if owner == name}
        return ModelUnknownError(
            f"{name} has no version {reference.version}" + near(reference.version, known), param="model"
        )
    if reference.channel is not None and not any_channel and (name, reference.channel) not in channels:
        known = {channel for owner, channel in channels if owner == name}
        return ModelUnknownError(
            f"{name} is on no channel {reference.channel}" + near(reference.channel, known), param="model"
        )
    return None


def fitting(standing: Standing, reference: Reference, any_channel: bool) -> list[ModelReport]:
    """What a node has of a model, in whatever state, where its channel is the one that was asked for."""
    if reference.version is None and not any_channel and standing.report.channel != reference.channel:
        return []
    return [
        model
        for model in standing.report.models
        if model.name == reference.name and reference.version in {None, model.version}
    ]


def doing(standing: Standing, models: Sequence[ModelReport], exclude: frozenset[str]) -> str:
    """What a node does instead of answering, after its name."""
    if standing.state in {"down", "draining"}:
        return "is down" if standing.state == "down" else "is draining"
    if standing.report.node_id in exclude:
        return "was excluded by the client"
    return ", ".join(_state(model) for model in models)


def _state(model: ModelReport) -> str:
    if model.state == "fetching" and model.fetch_total_bytes:
        percent = min(100, 100 * model.fetched_bytes // model.fetch_total_bytes)
        return f"is fetching {model.version} ({percent} %)"
    if model.state == "failed":
        return f"could not load {model.version}" + (f" ({model.detail[:120]})" if model.detail else "")
    return f"has {model.version} on disk" if model.state == "on_disk" else f"is {model.state} {model.version}"


def _listed(items: Sequence[str], separator: str) -> str:
    shown = separator.join(items[:_NAMED_COUNT])
    more_count = len(items) - _NAMED_COUNT
    return f"{shown}{separator}and {more_count} more" if more_count > 0 else shown
