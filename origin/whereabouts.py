"""Whereabouts: from the address of a request to the client's spot, by what it says, round trips and databases."""

from __future__ import annotations

import asyncio
import dataclasses
from ipaddress import ip_network
from typing import TYPE_CHECKING

import structlog

from origin.geo.client_spot import NOWHERE, ClientSpot
from origin.geo.heard import Sample
from origin.geo.rtt_surface import fitted
from registry.addresses import network_of, read_address, read_network
from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from origin.api import NodeReport, Place, ProbedRtt
    from origin.geo.network import Network
    from origin.geo_files import GeoFiles

log = structlog.get_logger()

_KEPT_COUNT = 16_384
_LOOK_AGAIN_S = 5.0


class Whereabouts:
    """Where clients are.

    Attributes:
        network: the round trips that are known.

    Args:
        network: which round trips are known.
        files: databases of addresses.
        trusted_proxies: networks whose word on `X-Forwarded-For` is taken.

    Raises:
        ConfigError: a trusted proxy is not a network.
    """

    def __init__(self, network: Network, files: GeoFiles, trusted_proxies: Sequence[str] = ()) -> None:
        self.network = network
        self._files = files
        try:
            self._proxies = tuple(ip_network(text) for text in trusted_proxies)
        except ValueError as error:
            raise ConfigError(f"origin.trusted_proxies: {error} (write 10.0.0.0/8 or 192.0.2.7)") from error
        self._kept: dict[tuple[str, Place | None], ClientSpot] = {}
        self._kept_epoch = network.epoch

    def refresh(self) -> None:
        """Look whether the databases have changed."""
        if self._files.refresh():
            self._kept.clear()

    def hear(self, report: NodeReport, now_s: float) -> None:
        """Learn from the round trips that a node's kernel has seen."""
        for seen in report.rtts:
            spot = self.spot_of_network(seen.prefix, now_s)
            if spot.prefix == seen.prefix:
                sample = Sample(report.node_id, report.place, seen.rtt_ms, seen.count, "", now_s)
                self.network.learn(spot, (sample,), now_s)

    def hear_client(self, remote: str, stated: Place | None, samples: Sequence[Sample], now_s: float) -> None:
        """Learn from a client's own probes; of its network by where databases see it, since it might say anything."""
        spot = self.spot(remote, now_s)
        if spot.place is None and stated is not None:
            spot = dataclasses.replace(spot, place=stated, place_source="stated")
        self.network.learn(spot, samples, now_s)
        self._kept.pop((remote, stated), None)  # it has probes of its own from now on
        self._kept.pop((remote, None), None)

    def hear_probes(
        self,
        remote: str,
        stated: Place | None,
        probes: Sequence[ProbedRtt],
        places: Mapping[str, Place | None],
        now_s: float,
    ) -> int:
        """Learn from a client's probes of nodes whose places are given, and leave out others; how many were taken."""
        samples = [
            Sample(
                probe.node_id, places[probe.node_id], probe.rtt_ms, probe.count, remote, now_s - probe.age_s
            )
            for probe in probes
            if probe.node_id in places
        ]
        if remote and samples:
            self.hear_client(remote, stated, samples, now_s)
        return len(samples) if remote else 0

    def client_address(self, remote: str, forwarded_for: Sequence[str]) -> str:
        """The client's address: the nearest in the chain that is no trusted proxy's; what lies past it may be forged.

        Args:
            remote: where the connection comes from.
            forwarded_for: the values of `X-Forwarded-For`, in the order of the headers.
        """
        if not self._proxies or not forwarded_for:
            return remote
        chain = [part.strip() for value in forwarded_for for part in value.split(",")]
        address = remote
        while chain and self._trusts(address):
            if read_address(chain[-1]) is None:
                break
            address = chain.pop()
        return address

    def spot(self, remote: str, now_s: float, stated: Place | None = None) -> ClientSpot:
        """Where the client at this address is."""
        if self.network.epoch != self._kept_epoch or len(self._kept) >= _KEPT_COUNT:
            self._kept.clear()
            self._kept_epoch = self.network.epoch
        key = remote, stated
        spot = self._kept.get(key)
        if spot is None:
            spot = self._kept[key] = self._find(remote, now_s, stated)
        return spot

    def shared_spot(self, remote: str, now_s: float) -> tuple[ClientSpot, int | None]:
        """Where the network of an address is, as all know it who share so many leading bits with it.

        The bits are those of the databases' record; None where it is this network's own, or nothing is known of it.
        """
        spot = dataclasses.replace(self._find(remote, now_s, None), client="")
        address = read_address(remote)
        if address is None or self.network.has_measured(spot.prefix):
            return spot, None
        bits = self._files.look_up(address).scope_bits
        return (spot, None) if bits is None else (dataclasses.replace(spot, prefix=""), bits)

    def spot_of_network(self, prefix: str, now_s: float) -> ClientSpot:
        """Where a network is that a node has seen clients of; nowhere when the text names none."""
        if not read_network(prefix):
            return NOWHERE
        return self.spot(prefix.partition("/")[0], now_s)

    def _find(self, remote: str, now_s: float, stated: Place | None) -> ClientSpot:
        address = read_address(remote)
        if address is None:
            return ClientSpot(place=stated, place_source="stated") if stated is not None else NOWHERE
        prefix = network_of(address)
        record = self._files.look_up(address)
        client = str(address) if self.network.has_probes(str(address)) else ""
        place, source = self.network.place_of(prefix, record.place, now_s)
        if stated is not None:
            place, source = stated, "stated"
        return ClientSpot(prefix, record.as_number, record.region, place, source, client)

    def _trusts(self, text: str) -> bool:
        address = read_address(text)
        return address is not None and any(
            address in network for network in self._proxies if network.version == address.version
        )


async def keep_known(whereabouts: Whereabouts) -> None:
    """Look for new databases, and fit guesses to what was measured, for ever."""
    while True:
        try:
            whereabouts.refresh()
            network = whereabouts.network
            if network.fit_due:
                network.install(await asyncio.to_thread(fitted, network.table()))
        except Exception:  # a defect of ours must not leave guesses as they are for good
            log.exception("whereabouts.broke")
        await asyncio.sleep(_LOOK_AGAIN_S)
