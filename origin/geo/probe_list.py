"""The nodes of a pool that a client should measure, kept for a while for all clients of its spot."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from origin.api import Peer
from origin.geo.nearness import order_of

if TYPE_CHECKING:
    from origin.geo.client_spot import ClientSpot
    from origin.geo.network import Network
    from origin.pool import Pool

_KEEP_S = 30.0
_RENEW_S = 5.0
_AMONG_COUNT = 48
_LIMIT_COUNT = 4


def probe_list(pool: Pool, spot: ClientSpot, network: Network, now_s: float) -> tuple[Peer, ...]:
    """Up to 4 nodes of a pool whose round trips it would help this client most to know."""
    # Who has not measured anything is asked what its neighbours are asked.
    shared = spot if spot.client else dataclasses.replace(spot, prefix="")
    key = "probes", shared
    kept: tuple[float, int, tuple[Peer, ...]] | None = pool.kept.get(key)
    if kept is not None:
        age_s = now_s - kept[0]
        if age_s < _RENEW_S or (age_s < _KEEP_S and kept[1] == network.epoch):
            return kept[2]
    order = order_of(pool, spot, network, now_s)
    reports = [pool.rows[int(row)].member.report for row in order.rows[:_AMONG_COUNT]]
    urls = {report.node_id: report.url for report in reports}
    picked: tuple[str, ...] = ()
    if len(reports) > 1 and not order.unknown:
        nodes = [(report.node_id, report.place) for report in reports]
        picked = network.probes(shared, nodes, now_s, limit_count=_LIMIT_COUNT)
    peers = tuple(Peer(node_id, urls[node_id]) for node_id in picked)
    pool.kept.pop(key, None)
    pool.kept[key] = (now_s, network.epoch, peers)
    return peers
