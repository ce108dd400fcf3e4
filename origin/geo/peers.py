"""Whom a node should ask for the chunks of a release before it asks the origin: near nodes first, spread evenly.

Nodes of one region are as good as each other, so among them each asker gets another order (rendezvous hashing), and
nobody is everybody's first choice. Nodes that are about to fetch the same release are named as well: they begin at
different places and exchange what they have.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from origin.api import Peer
from origin.geo.distance import distance_km

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from origin.api import NodeReport, Place, WantedRelease
    from origin.fleet import Standing

PEERS_LIMIT_COUNT = 16
_REGIONS_KM = (1000.0, 3000.0, 8000.0)
"""Nodes up to the first figure away are of the same region; those up to the second of the next; and so on."""
_ON_DISK = {"on_disk", "loading", "asleep", "ready"}


def peers_by_release(
    asker: NodeReport,
    wanted: Iterable[WantedRelease] | None,
    standings: Iterable[Standing],
    wants: Callable[[NodeReport], Iterable[WantedRelease] | None],
    *,
    limit_count: int = PEERS_LIMIT_COUNT,
) -> dict[str, tuple[Peer, ...]]:
    """For each wanted release that the asker does not hold yet, by the sha256 of its manifest, whom to ask.

    Args:
        asker: the node that will ask.
        wanted: what it should hold.
        standings: the fleet.
        wants: what any node should hold.
        limit_count: at most so many for each release.
    """
    held = {(model.name, model.version) for model in asker.models if model.state in _ON_DISK}
    missing = [release for release in wanted or () if (release.name, release.version) not in held]
    if not missing:
        return {}
    alive = [
        standing.report
        for standing in standings
        if standing.state in {"up", "draining"} and standing.report.node_id != asker.node_id
    ]
    told = {report.node_id: frozenset(wants(report) or ()) for report in alive}
    found = {
        release.manifest_sha256: _nearest(
            asker,
            release,
            [it for it in alive if release in told[it.node_id] or _speaks_of(it, release)],
            limit_count,
        )
        for release in missing
    }
    return {manifest: peers for manifest, peers in found.items() if peers}


def _speaks_of(report: NodeReport, release: WantedRelease) -> bool:
    states = _ON_DISK | {"fetching"}
    return any(
        (model.name, model.version) == (release.name, release.version) and model.state in states
        for model in report.models
    )


def _nearest(
    asker: NodeReport, release: WantedRelease, others: list[NodeReport], limit_count: int
) -> tuple[Peer, ...]:
    def order(other: NodeReport) -> tuple[int, bytes]:
        key = f"{asker.node_id}\0{other.node_id}\0{release.manifest_sha256}"
        return _regions_away(asker.place, other.place), hashlib.sha256(key.encode()).digest()

    return tuple(Peer(other.node_id, other.url) for other in sorted(others, key=order)[:limit_count])


def _regions_away(a: Place | None, b: Place | None) -> int:
    if a is None or b is None:
        return len(_REGIONS_KM)
    apart_km = distance_km(a, b)
    return sum(apart_km > edge_km for edge_km in _REGIONS_KM)
