"""Which nodes should answer a request, best first.

Candidates are nodes that are up or suspect, do not drain, and hold a fitting release that is ready, or asleep: then
loading it is part of the score. Nodes that are still loading one follow at the end of the list. The least score
wins; nodes within 10 ms or 5 % of it, whichever is more, are its equals, and rendezvous hashing on model and session
decides among those (D. Thaler and C. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM
Transactions on Networking 6(1), 1998), so that equals share the load and a session stays where its cache is; but
nobody gets more than 1.25 times its share of what the equals have to do (V. Mirrokni, M. Thorup and M.
Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from origin.geo.client_spot import NOWHERE, ClientSpot
from origin.geo.nearness import order_of
from origin.geo.refusal import why_nobody
from origin.geo.score import Prompt, ranked
from origin.geo.walk import Walk, Want
from origin.member import space_name
from origin.spaces import UNKNOWN
from registry.errors import InputInvalidError
from registry.reference import Reference, parse_asked

if TYPE_CHECKING:
    from origin.api import CatalogAnswer, RankedNode
    from origin.fleet import FleetView
    from origin.geo.network import Network
    from origin.geo.walk import Scored
    from origin.pool import Pool
    from origin.prefixes import Mark

Reason = Literal["nearest", "load", "spread", "explore", "no_place"]
"""Why the first of the list is first: it is the nearest; a nearer one would be slower; a hash among equals
decided; it was tried to learn of it; or the client's place is unknown and only load counted."""

_EQUAL_S = 0.010
_EQUAL_SHARE = 0.05
_BOUND = 1.25
EXPLORED_SHARE = 0.01
"""So many requests go to any node that is not much worse, so that what is believed of idle nodes is put right."""
_EXPLORE_S = 0.050
_EXPLORE_SHARE = 0.25
_64_BITS = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants.

    Attributes:
        any_channel: a bare name, which nodes on other channels may answer when no stable one can.
        marks: beginnings of the prompt, of `prompt_bytes`, where somebody has worked them out (`origin.prefixes`).
        shared_marks: the same beginnings as prompts that nodes keep for everybody.
        session: whatever stays the same between requests that profit from the same node.
        warm: ids of nodes to which the client has a connection.
    """

    reference: Reference
    any_channel: bool = False
    spot: ClientSpot = NOWHERE
    prompt_tokens: int = 0
    prompt_bytes: int = 0
    marks: tuple[Mark, ...] = ()
    shared_marks: tuple[Mark, ...] = ()
    session: str = ""
    limit: int = 4
    exclude: frozenset[str] = frozenset()
    warm: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """The ranked nodes, never empty, the first of them ready; all of them give vectors of one space."""

    nodes: tuple[RankedNode, ...]
    reason: Reason
    space_id: str = ""


@lru_cache(maxsize=1024)  # requests name the same few models over and over
def parse_model(text: str) -> tuple[Reference, bool]:
    """A request's `model` as a reference, and whether it is a bare name.

    Raises:
        InputInvalidError: not a reference.
    """
    try:
        return parse_asked(text), not {"@", ":"} & set(text)
    except InputInvalidError as error:
        raise InputInvalidError(error.message, param="model") from error


def choose(
    view: FleetView,
    ask: Ask,
    catalog: CatalogAnswer | None,
    *,
    network: Network | None = None,
    chance: float = 1.0,
) -> Decision:
    """The nodes that should answer, best first.

    Args:
        view: the fleet now.
        ask: what is wanted.
        catalog: the releases and channels that are known; None when they could never be read.
        network: round trips that were measured; None goes by places alone.
        chance: a random number from 0 to 1; below `EXPLORED_SHARE` a node is tried that is not the best.

    Raises:
        ModelUnknownError: no release and no node has this model.
        NoNodeAvailableError: it exists, and no node can answer now; `retry_after_s` is set.
    """
    reference = ask.reference
    walk, unknown = _walk(view, ask, catalog, network, chance, any_channel=False)
    if not walk.ready and ask.any_channel and reference.version is None:
        walk, unknown = _walk(view, ask, catalog, network, chance, any_channel=True)
    if not walk.ready:
        raise why_nobody(view, reference, ask.any_channel, ask.exclude, catalog)
    ordered = _spread(walk.ready, ask, chance)
    found = ordered[: ask.limit]
    if len(found) < ask.limit:
        found = [*found, *walk.loading()[: ask.limit - len(found)]]
    nodes = tuple(ranked(it.near, it.offer, walk.terms_s(it)) for it in found)
    reason = "no_place" if unknown else _reason(ordered[0], walk, chance)
    return Decision(nodes, reason, ordered[0].offer.model.space_id)


def _walk(
    view: FleetView,
    ask: Ask,
    catalog: CatalogAnswer | None,
    network: Network | None,
    chance: float,
    *,
    any_channel: bool,
) -> tuple[Walk, bool]:
    """The search, and whether nothing is known of where the client is."""
    reference = ask.reference
    channel = None if any_channel or reference.version is not None else reference.channel
    pool, others = _pool(view, reference, channel)
    pool.settle()
    order = order_of(pool, ask.spot, network, view.now_s)
    want = Want(
        version=reference.version,
        channels=catalog.channels.get(reference.name, {}) if catalog is not None else {},
        exclude=ask.exclude | others,
        warm=ask.warm,
        prompt=Prompt(ask.prompt_tokens, ask.marks, ask.prompt_bytes, ask.shared_marks),
        limit_count=ask.limit,
        band_s=_explored_band_s if chance < EXPLORED_SHARE else _band_s,
    )
    return Walk(pool, order, want, view.rules, view.now_s), order.unknown


def _pool(view: FleetView, reference: Reference, channel: str | None) -> tuple[Pool, frozenset[str]]:
    """The nodes to choose from, and the ids of those among them whose vectors are of another space."""
    whole = view.pool(reference.name, channel)
    space = reference.space or view.space(reference.name, channel, reference.version)
    if space is None:
        return whole, frozenset()
    if space != UNKNOWN:
        return view.pool(space_name(reference.name, space), channel), frozenset()
    others = [
        seat.node_id
        for seat in whole.seats.values()
        if any(it.model.space_id for it in seat.offers if reference.version in {None, it.version})
    ]
    return whole, frozenset(others)


def _band_s(best_s: float) -> float:
    return max(_EQUAL_S, _EQUAL_SHARE * best_s)


def _explored_band_s(best_s: float) -> float:
    return max(_EXPLORE_S, _EXPLORE_SHARE * best_s)


def _spread(ready: list[Scored], ask: Ask, chance: float) -> list[Scored]:
    """The ready nodes with those that are as good as the best in the order of their hashes, the full ones last."""
    explores = chance < EXPLORED_SHARE
    best_s = ready[0].score_s
    limit_s = best_s + (_explored_band_s(best_s) if explores else _band_s(best_s))
    count = next((number for number, it in enumerate(ready) if it.score_s > limit_s), len(ready))
    if count == 1:
        return ready
    equals = ready[:count]
    if explores:
        tried = equals.pop(min(count - 1, int(chance / EXPLORED_SHARE * count)))
        return [tried, *equals, *ready[count:]]
    # No part can hold a NUL: names and ids have a pattern, and HTTP headers forbid it.
    key = f"{ask.reference.name}\0{ask.session}".encode(errors="surrogatepass")
    number = int.from_bytes(hashlib.sha256(key).digest()[:8], "little")
    equals.sort(key=lambda it: _mixed(number ^ it.seat.number), reverse=True)
    loads = [_load_count(it) for it in equals]
    slots = [it.offer.model.slots or 1 for it in equals]
    share = _BOUND * (sum(loads) + 1) / sum(slots)
    with_room: list[Scored] = []
    full: list[Scored] = []
    for it, load_count, slots_count in zip(equals, loads, slots, strict=True):
        (with_room if load_count + 1 <= math.ceil(share * slots_count) else full).append(it)
    return [*with_room, *full, *ready[count:]]


def _load_count(scored: Scored) -> int:
    model = scored.offer.model
    return model.busy + model.queued + len(scored.offer.sent)


def _mixed(number: int) -> int:
    """The finalizer of SplitMix64 (G. Steele, D. Lea and C. Flood, OOPSLA 2014): every bit depends on every other."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return number ^ (number >> 31)


def _reason(first: Scored, walk: Walk, chance: float) -> Reason:
    best = walk.ready[0]
    if chance < EXPLORED_SHARE and first is not best:
        return "explore"
    if first.near.network_s <= walk.nearest_s:
        return "nearest"
    return "spread" if first is not best else "load"
