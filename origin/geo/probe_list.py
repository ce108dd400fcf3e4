"""The nodes of a pool that a client should measure, kept for a while for all clients of its spot.

Choosing them well (`origin.geo.probing`) takes longer than to decide who answers, so only so many are chosen in a
second. Who comes when that is used up gets what was chosen for its spot before, or else the nearest by the guesses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from origin.api import Peer
from origin.geo.nearness import order_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from origin.geo.client_spot import ClientSpot
    from origin.geo.nearness import Order
    from origin.geo.network import Network
    from origin.pool import Pool

_KEEP_S = 30.0
_RENEW_S = 5.0
_RETRY_S = 1.0
_AMONG_COUNT = 48
_LIMIT_COUNT = 4
_CHOICES_PER_S = 100.0
"""So that choosing takes a small part of a core at most, whoever asks."""
_CHOICES_AT_ONCE_COUNT = 20.0


class _Kept(NamedTuple):
    made_at_s: float
    epoch: int
    peers: tuple[Peer, ...]


class ProbeLists:
    """Lists of nodes to measure, and how many more may be chosen now.

    Args:
        network: the round trips that are known.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._left_count = _CHOICES_AT_ONCE_COUNT
        self._counted_s = 0.0

    def peers(self, pool: Pool, spot: ClientSpot, now_s: float) -> tuple[Peer, ...]:
        """Up to 4 nodes of a settled pool whose round trips it would help this client most to know."""
        # Who has not measured anything is asked what its neighbours are asked.
        key = "probes", spot.place, spot.as_number, spot.region, spot.client
        kept: _Kept | None = pool.kept.get(key)
        if kept is not None:
            age_s = now_s - kept.made_at_s
            if age_s < _RENEW_S or (age_s < _KEEP_S and kept.epoch == self._network.epoch):
                return kept.peers
        order = order_of(pool, spot, self._network, now_s)
        if order.unknown or len(order.rows) < 2:
            return ()
        if not self._may_choose(now_s):
            peers = kept.peers if kept is not None else _nearest(pool, order)
            pool.kept[key] = _Kept(now_s + _RETRY_S - _RENEW_S, -1, peers)
            return peers
        return self._chosen(pool, spot, order, key, now_s)

    def _chosen(
        self, pool: Pool, spot: ClientSpot, order: Order, key: Hashable, now_s: float
    ) -> tuple[Peer, ...]:
        reports = [pool.rows[row].member.report for row in order.rows[:_AMONG_COUNT].tolist()]
        picked = self._network.probes(
            spot if spot.client else spot._replace(prefix=""),
            [(report.node_id, report.place) for report in reports],
            now_s,
            limit_count=_LIMIT_COUNT,
        )
        urls = {report.node_id: report.url for report in reports}
        peers = tuple(Peer(node_id, urls[node_id]) for node_id in picked)
        pool.kept.pop(key, None)
        pool.kept[key] = _Kept(now_s, self._network.epoch, peers)
        return peers

    def _may_choose(self, now_s: float) -> bool:
        more_count = max(0.0, now_s - self._counted_s) * _CHOICES_PER_S
        self._counted_s = now_s
        self._left_count = min(_CHOICES_AT_ONCE_COUNT, self._left_count + more_count)
        if self._left_count < 1:
            return False
        self._left_count -= 1
        return True


def _nearest(pool: Pool, order: Order) -> tuple[Peer, ...]:
    """The first of the order that the client has not measured."""
    found: list[Peer] = []
    for position in range(min(_AMONG_COUNT, len(order.rows))):
        if order.near_at(position).source != "probe":
            report = pool.rows[order.rows.item(position)].member.report
            found.append(Peer(report.node_id, report.url))
            if len(found) == _LIMIT_COUNT:
                break
    return tuple(found)
