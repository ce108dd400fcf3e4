"""A fleet whose nodes and clients go on measuring round trips: what the live parts of bench_routing share.

Clients live in a few hundred cities, a /24 each; every heartbeat of a node tells round trips to some of them, as
kernels do, and now and then a client reports probes of its own.
"""

from __future__ import annotations

import random
from ipaddress import ip_address

import msgspec
from routing_decisions import places

from origin.api import RttSample
from origin.geo.distance import distance_km, estimated_rtt_ms
from origin.geo.heard import Sample
from origin.geo.network import Network
from origin.geo.places import UNKNOWN, AddressRecord
from origin.geo.rtt_surface import fitted
from origin.whereabouts import Whereabouts

NETWORKS_COUNT = 2000
CITIES_COUNT = 300
RTTS_A_BEAT_COUNT = 8
FIT_S = 5.0
ROUNDS_COUNT = 10
"""So many different heartbeats each node has; then it begins again."""


class Map:
    """A database of addresses: each /24 lies in one of the cities."""

    def __init__(self, cities):
        self.cities = cities

    def refresh(self):
        return False

    def look_up(self, address):
        if address.version == 6:
            return UNKNOWN
        number = int(address) >> 8
        city = number * 2_654_435_761 % len(self.cities)
        return AddressRecord(self.cities[city], "", 64_500 + city % 40, 20)


class Life:
    """What is measured while a fleet serves, on a clock of the caller's."""

    def __init__(self, seed=5):
        self.rng = rng = random.Random(seed)
        self.map = Map(places(rng, CITIES_COUNT))
        self.whereabouts = Whereabouts(Network(), self.map)
        self.addresses = [f"20.{n >> 8}.{n & 255}.{1 + n % 200}" for n in range(NETWORKS_COUNT)]
        self.detours = {}
        self.fitted_s = 0.0

    def rtt_ms(self, number, report):
        """A path that is up to twice as long as usual, always the same, and some waiting."""
        at = self.map.look_up(ip_address(self.addresses[number])).place
        detour = self.detours.get((number % 97, report.node_id))
        if detour is None:
            detour = self.detours[number % 97, report.node_id] = self.rng.uniform(0.8, 2.0)
        return max(1.0, detour * estimated_rtt_ms(distance_km(at, report.place))) + self.rng.expovariate(0.2)

    def with_rtts(self, report):
        """A heartbeat that tells round trips."""
        seen = self.rng.sample(range(NETWORKS_COUNT), RTTS_A_BEAT_COUNT)
        rtts = tuple(RttSample(prefix=self.prefix(n), rtt_ms=self.rtt_ms(n, report), count=3) for n in seen)
        return msgspec.structs.replace(report, rtts=rtts)

    def prefix(self, number):
        return self.addresses[number].rpartition(".")[0] + ".0/24"

    def hear(self, report, now_s):
        self.whereabouts.hear(report, now_s)

    def hear_client(self, number, reports, now_s):
        """A client tells of three probes."""
        remote = self.addresses[number]
        samples = [
            Sample(it.node_id, it.place, self.rtt_ms(number, it), 2, remote, now_s)
            for it in self.rng.sample(reports, 3)
        ]
        self.whereabouts.hear_client(remote, None, samples, now_s)

    def fit(self, now_s):
        """As `keep_known` does aside."""
        network = self.whereabouts.network
        if now_s - self.fitted_s >= FIT_S and network.fit_due:
            self.fitted_s = now_s
            network.install(fitted(network.table()))


class Beats:
    """The heartbeats of a fleet: one a second of each node, evenly, on a clock of the caller's that begins at 0.

    Attributes:
        different: all that there are, before they come again.
    """

    def __init__(self, life, reports):
        self.different = [life.with_rtts(each) for _ in range(ROUNDS_COUNT) for each in reports]
        self._nodes_count = len(reports)
        self._given_count = 0

    def due(self, now_s):
        """Those that belong to the time until now, each once."""
        while self._given_count < now_s * self._nodes_count:
            yield self.different[self._given_count % len(self.different)]
            self._given_count += 1
