"""What the door asks of the origin's parts: the fleet, the catalog, and where a network is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.dns.door import Located

if TYPE_CHECKING:
    from origin.api import CatalogAnswer
    from origin.dns.subnet import Network
    from origin.fleet import Fleet, FleetView
    from origin.geo.network import Network as RoundTrips
    from origin.releases import Releases
    from origin.whereabouts import Whereabouts

_KEPT_BITS = {4: 24, 6: 48}


class OriginKnowledge:
    """`origin.dns.door.Knowing` over one origin's parts."""

    def __init__(self, fleet: Fleet, releases: Releases, whereabouts: Whereabouts) -> None:
        self._fleet, self._releases, self._whereabouts = fleet, releases, whereabouts

    def view(self, now_s: float) -> FleetView:
        """The fleet now."""
        return self._fleet.view(now_s)

    def catalog(self) -> CatalogAnswer | None:
        """Releases and channels; None when they could never be read."""
        return self._releases.view

    def network(self) -> RoundTrips | None:
        """Round trips that were measured."""
        return self._whereabouts.network

    def locate(self, network: Network, now_s: float) -> Located:
        """The network's place, by what was measured to it and by databases, and how wide that place is known to be."""
        spot, bits = self._whereabouts.shared_spot(str(network.network_address), now_s)
        return Located(spot, network.prefixlen if bits is None else min(bits, _KEPT_BITS[network.version]))
