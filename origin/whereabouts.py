"""Whereabouts: from the address of a request to the client's spot, by what it says, round trips and databases."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

import structlog

from origin.geo.client_spot import NOWHERE, ClientSpot
from origin.geo.heard import Sample
from origin.geo.probe_list import ProbeLists
from origin.geo.rtt_surface import fitting
from registry.addresses import network_of, read_address
from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from origin.api import NodeReport, Place, ProbedRtt
    from origin.geo.network import Network
    from origin.geo.places import AddressRecord
    from origin.geo.rtt_surface import RttSurface
    from origin.geo.rtt_table import RttTable
    from origin.geo_files import GeoFiles

log = structlog.get_logger()

_KEPT_COUNT = 16_384
_KEEP_S = 5.0
"""So long a spot is kept although round trips go on being learned; not that of a client that has just told some."""
_LOOK_AGAIN_S = 5.0
_REST_FOR_WORK = 19


class _Listed(NamedTuple):
    text: str
    prefix: str
    record: AddressRecord


class Whereabouts:
    """Where clients are.

    Attributes:
        network: the round trips that are known.
        probe_lists: what clients should measure.

    Args:
        network: which round trips are known.
        files: databases of addresses.
        trusted_proxies: networks whose word on `X-Forwarded-For` is taken.

    Raises:
        ConfigError: a trusted proxy is not a network.
    """

    def __init__(self, network: Network, files: GeoFiles, trusted_proxies: Sequence[str] = ()) -> None:
        self.network = network
        self.probe_lists = ProbeLists(network)
        self._files = files
        try:
            self._proxies = tuple(ip_network(text) for text in trusted_proxies)
        except ValueError as error:
            raise ConfigError(f"origin.trusted_proxies: {error} (write 10.0.0.0/8 or 192.0.2.7)") from error
        # By address and stated place, so that what is kept of a client can be dropped together.
        self._kept: dict[str, dict[Place | None, tuple[float, ClientSpot]]] = {}
        self._kept_count = 0
        self._listed: dict[str, _Listed | None] = {}

    def refresh(self) -> None:
        """Look whether the databases have changed."""
        if self._files.refresh():
            self._kept.clear()
            self._kept_count = 0
            self._listed.clear()

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
            spot = spot._replace(place=stated, place_source="stated")
        self.network.learn(spot, samples, now_s)
        self._kept_count -= len(self._kept.pop(remote, ()))  # it has probes of its own from now on

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
        of_client = self._kept.get(remote)
        kept = None if of_client is None else of_client.get(stated)
        if kept is not None and now_s - kept[0] < _KEEP_S:
            return kept[1]
        if self._kept_count >= _KEPT_COUNT:
            self._kept.clear()
            self._kept_count, kept = 0, None
        spot = self._find(remote, now_s, stated)
        self._kept.setdefault(remote, {})[stated] = now_s, spot
        self._kept_count += kept is None
        return spot

    def shared_spot(self, remote: str, now_s: float) -> tuple[ClientSpot, int | None]:
        """Where the network of an address is, as all know it who share so many leading bits with it.

        The bits are those of the databases' record; None where it is this network's own, or nothing is known of it.
        """
        spot = self._find(remote, now_s, None)._replace(client="")
        listed = self._look_up(remote)
        if listed is None or self.network.has_measured(spot.prefix):
            return spot, None
        bits = listed.record.scope_bits
        return (spot, None) if bits is None else (spot._replace(prefix=""), bits)

    def spot_of_network(self, prefix: str, now_s: float) -> ClientSpot:
        """Where a network is that a node has seen clients of; nowhere when the text names none."""
        base = prefix.partition("/")[0]
        listed = self._look_up(base)
        if listed is None or not listed.prefix or listed.prefix != prefix:
            return NOWHERE
        return self.spot(base, now_s)

    def _find(self, remote: str, now_s: float, stated: Place | None) -> ClientSpot:
        listed = self._look_up(remote)
        if listed is None:
            return ClientSpot(place=stated, place_source="stated") if stated is not None else NOWHERE
        client = listed.text if self.network.has_probes(listed.text) else ""
        record, prefix = listed.record, listed.prefix
        place, source = self.network.place_of(prefix, record.place, now_s)
        if stated is not None:
            place, source = stated, "stated"
        return ClientSpot(prefix, record.as_number, record.region, place, source, client)

    def _look_up(self, remote: str) -> _Listed | None:
        """An address in its usual form, with what does not change until the databases do; None for other texts."""
        if remote in self._listed:
            return self._listed[remote]
        if len(self._listed) >= _KEPT_COUNT:
            self._listed.clear()
        address = read_address(remote)
        listed = None
        if address is not None:
            listed = _Listed(str(address), network_of(address), self._files.look_up(address))
        self._listed[remote] = listed
        return listed

    def _trusts(self, text: str) -> bool:
        address = read_address(text)
        return address is not None and any(
            address in network for network in self._proxies if network.version == address.version
        )


async def keep_known(whereabouts: Whereabouts) -> None:
    """Look for new databases, and fit guesses to what was measured, for ever; the fits take 5 % of a core at most."""
    while True:
        try:
            whereabouts.refresh()
            network = whereabouts.network
            if network.fit_due:
                network.install(await _fitted_by_and_by(network.table()))
        except Exception:  # a defect of ours must not leave guesses as they are for good
            log.exception("whereabouts.broke")
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _fitted_by_and_by(table: RttTable) -> RttSurface:
    """The surface, with a rest after each piece of the work: in one go it would hold up every answer for its time."""
    pieces = fitting(table)
    while True:
        surface, took_s = await asyncio.to_thread(_next_of, pieces)
        if surface is not None:
            return surface
        await asyncio.sleep(_REST_FOR_WORK * took_s)


def _next_of(pieces: Iterator[RttSurface | None]) -> tuple[RttSurface | None, float]:
    begun_s = time.thread_time()
    return next(pieces), time.thread_time() - begun_s
