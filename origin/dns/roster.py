"""Roster: the fleet as names and kept answers see it, and since when each node has been as it is.

An answer that was kept names a few nodes, and is good while those are what they were; a heartbeat that changes
nothing but load changes nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.dns.choice import address_of
from origin.dns.directory import directory_of, names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from origin.api import CatalogAnswer, NodeReport
    from origin.dns.directory import Target
    from origin.dns.records import Zone
    from origin.fleet import Standing

_ALIKE_BUT_FOR_COUNT = 32
"""How many nodes are ranked where not all have the same families and port, so that enough of each are among them."""


class Roster:
    """What was seen at the last look; `epoch` counts the looks at which anything had changed."""

    def __init__(self, zone: Zone) -> None:
        self.epoch = 0
        self.certain = False
        self.reports: Mapping[str, NodeReport] = {}
        self.directory: Mapping[bytes, Target] = {}
        self.catalog: CatalogAnswer | None = None
        self.ranked_count = _ALIKE_BUT_FOR_COUNT
        self._zone = zone
        self._seen: dict[str, object] = {}
        self._names: tuple[object, ...] = ()
        self._changed: dict[str, int] = {}

    def look(self, standings: Sequence[Standing], catalog: CatalogAnswer | None) -> None:
        """Take in the fleet and the catalog as they are now."""
        seen: dict[str, object] = {
            standing.report.node_id: (standing.state, *_lasting(standing.report)) for standing in standings
        }
        self.reports = {standing.report.node_id: standing.report for standing in standings}
        # Who has no catalog, or has heard of no node, cannot say that there is no such name.
        self.certain = catalog is not None and bool(seen)
        changed = [
            node_id
            for node_id in seen.keys() | self._seen.keys()
            if seen.get(node_id) != self._seen.get(node_id)
        ]
        if not changed and catalog == self.catalog and self.epoch:
            return
        self.epoch += 1
        for node_id in changed:
            if node_id in seen:
                self._changed[node_id] = self.epoch
            else:
                del self._changed[node_id]
        self._seen = seen
        names = names_of(self.reports.values())
        if names != self._names or catalog != self.catalog:
            self._names, self.catalog = names, catalog
            self._name_anew()
        self.ranked_count = self._zone.nodes_count if self._alike() else _ALIKE_BUT_FOR_COUNT

    def unchanged_since(self, epoch: int, node_ids: Iterable[str]) -> bool:
        """Whether all these nodes are what they were in that epoch."""
        return all(self._changed.get(node_id, epoch + 1) <= epoch for node_id in node_ids)

    def _name_anew(self) -> None:
        found = directory_of(self._zone.name, self._zone.servers, self.reports.values(), self.catalog)
        # What a name stands for stays the same object while it is the same, so that it is compared at no cost.
        before = self.directory
        self.directory = {
            name: before[name] if before.get(name) == target else target for name, target in found.items()
        }

    def _alike(self) -> bool:
        forms = set()
        for report in self.reports.values():
            node = address_of(report)
            forms.add((bool(node.ipv4), bool(node.ipv6), node.port == self._zone.node_port, node.secure))
        return len(forms) == 1


def _lasting(report: NodeReport) -> tuple[object, ...]:
    """All of a report that names, addresses and being a candidate depend on, and nothing that load moves."""
    return (
        report.url,
        report.addresses,
        report.channel,
        report.draining,
        tuple((model.name, model.version, model.state) for model in report.models),
    )
