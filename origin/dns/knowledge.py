"""What the door asks of the origin's parts: the fleet, the catalog, and where a network is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.dns.door import Located
from origin.geo.client_spot import ClientSpot

if TYPE_CHECKING:
    from origin.api import CatalogAnswer
    from origin.dns.subnet import Network
    from origin.fleet import Fleet, FleetView
    from origin.geo.network import Network as RoundTrips
    from origin.releases import Releases


class OriginKnowledge:
    """`origin.dns.door.Knowing` over one origin's fleet and releases."""

    def __init__(self, fleet: Fleet, releases: Releases) -> None:
        self._fleet, self._releases = fleet, releases

    def view(self, now_s: float) -> FleetView:
        """The fleet now."""
        return self._fleet.view(now_s)

    def catalog(self) -> CatalogAnswer | None:
        """Releases and channels; None when they could never be read."""
        return self._releases.view

    def network(self) -> RoundTrips | None:
        """Round trips that were measured; None while none are kept."""
        return None

    def locate(self, network: Network, now_s: float) -> Located:  # noqa: ARG002  # until there is a map
        """The network itself, whose place nobody has told."""
        return Located(ClientSpot(prefix=str(network)), network.prefixlen)
