"""Which nodes should answer a request, best first.

Candidates are nodes that are up or suspect, do not drain, and hold a fitting release that is ready, or asleep: then
loading it is part of the score. Nodes that are still loading one follow at the end of the list. The least score
wins; among nodes within 10 ms or 5 % of it, whichever is more, rendezvous hashing on model and session decides (D.
Thaler and C. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking
6(1), 1998), so that equals share the load and a session stays where its cache is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from origin.geo.refusal import why_nobody
from origin.geo.score import Candidate, measured, scored
from registry.errors import InputInvalidError
from registry.reference import Reference, parse_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from origin.api import CatalogAnswer, ModelReport, Place, RankedNode
    from origin.fleet import FleetView, Standing

Reason = Literal["nearest", "load", "spread", "no_place"]
"""Why the first of the list is first: it is the nearest; a nearer one would be slower; a hash among equals
decided; or the client's place is unknown and only load counted."""

_EQUAL_S = 0.010
_EQUAL_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants.

    Attributes:
        any_channel: a bare name, which nodes on other channels may answer when no stable one can.
        session: whatever stays the same between requests that profit from the same node.
    """

    reference: Reference
    any_channel: bool = False
    place: Place | None = None
    prompt_tokens: int = 0
    session: str = ""
    limit: int = 4
    exclude: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """The ranked nodes, never empty, the first of them ready."""

    nodes: tuple[RankedNode, ...]
    reason: Reason


def parse_model(text: str) -> tuple[Reference, bool]:
    """A request's `model` as a reference, and whether it is a bare name.

    Raises:
        InputInvalidError: not a reference.
    """
    try:
        return parse_reference(text), not {"@", ":"} & set(text)
    except InputInvalidError as error:
        raise InputInvalidError(error.message, param="model") from error


def choose(view: FleetView, ask: Ask, catalog: CatalogAnswer | None) -> Decision:
    """The nodes that should answer, best first.

    Args:
        view: the fleet now.
        ask: what is wanted.
        catalog: the releases and channels that are known; None when they could never be read.

    Raises:
        ModelUnknownError: no release and no node has this model.
        NoNodeAvailableError: it exists, and no node can answer now; `retry_after_s` is set.
    """
    candidates = _candidates(view, ask, catalog, any_channel=False)
    if ask.any_channel and not any(candidate.ready for candidate in candidates):
        candidates = _candidates(view, ask, catalog, any_channel=True)
    if not any(candidate.ready for candidate in candidates):
        raise why_nobody(view, ask.reference, ask.any_channel, ask.exclude, catalog)
    others = measured(candidates)
    ready: list[RankedNode] = []
    loading: list[RankedNode] = []
    for candidate in candidates:
        ranked = scored(
            candidate,
            place=ask.place,
            prompt_tokens=ask.prompt_tokens,
            others=others,
            rules=view.rules,
            now_s=view.now_s,
        )
        (ready if candidate.ready else loading).append(ranked)
    ready.sort(key=lambda node: (node.score_s, node.node_id))
    loading.sort(key=lambda node: (node.score_s, node.node_id))
    ordered = _spread(ready, ask)
    return Decision((*ordered, *loading)[: ask.limit], _reason(ordered[0], ready, ask))


def _candidates(
    view: FleetView, ask: Ask, catalog: CatalogAnswer | None, *, any_channel: bool
) -> list[Candidate]:
    found = []
    for standing in view.standings:
        if standing.state not in {"up", "suspect"} or standing.report.node_id in ask.exclude:
            continue
        model = _best_release(standing, ask.reference, catalog, any_channel=any_channel)
        if model is not None:
            found.append(Candidate(standing, model))
    return found


def _best_release(
    standing: Standing, reference: Reference, catalog: CatalogAnswer | None, *, any_channel: bool
) -> ModelReport | None:
    """The release that this node would answer from: a ready one, of the version that its channel points at."""
    channel = standing.report.channel
    if reference.version is None and not any_channel and channel != reference.channel:
        return None
    wanted = reference.version or (catalog.channels.get(reference.name, {}).get(channel) if catalog else None)
    fitting = [
        model
        for model in standing.report.models
        if model.name == reference.name
        and model.state in {"ready", "asleep", "loading"}
        and reference.version in {None, model.version}
    ]
    return max(
        fitting,
        key=lambda model: (model.state != "loading", model.version == wanted, model.state, model.version),
        default=None,
    )


def _spread(ready: Sequence[RankedNode], ask: Ask) -> list[RankedNode]:
    """The ready nodes with those that are as good as the best in the order of their hashes."""
    limit_s = ready[0].score_s + max(_EQUAL_S, _EQUAL_SHARE * ready[0].score_s)
    equals = [node for node in ready if node.score_s <= limit_s]
    equals.sort(key=lambda node: _weight(ask, node.node_id), reverse=True)
    return [*equals, *ready[len(equals) :]]


def _weight(ask: Ask, node_id: str) -> bytes:
    # No part can hold a NUL: names and ids have a pattern, and HTTP headers forbid it.
    return hashlib.sha256(
        f"{ask.reference.name}\0{ask.session}\0{node_id}".encode(errors="surrogatepass")
    ).digest()


def _reason(first: RankedNode, ready: Sequence[RankedNode], ask: Ask) -> Reason:
    if ask.place is None:
        return "no_place"
    if first.terms_s["network"] == min(node.terms_s["network"] for node in ready):
        return "nearest"
    return "spread" if first.node_id != ready[0].node_id else "load"
