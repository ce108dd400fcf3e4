"""What the door learns of a network: its place and the width of the record, or its own where it was measured."""

import ipaddress

from origin.api import Place
from origin.dns.knowledge import OriginKnowledge
from origin.geo.heard import Sample
from origin.geo.network import Network
from origin.geo.places import UNKNOWN, AddressRecord
from origin.whereabouts import Whereabouts

PARIS = Place(48.86, 2.35)
RECORDS = {
    ipaddress.ip_network("80.1.0.0/16"): AddressRecord(PARIS, "FR", None, 16),
    ipaddress.ip_network("81.1.1.128/25"): AddressRecord(PARIS, "FR", None, 25),
    ipaddress.ip_network("2a01:e00::/28"): AddressRecord(PARIS, "FR", None, 28),
}


class Files:
    """A database of three records."""

    def look_up(self, address):
        return next((record for net, record in RECORDS.items() if address in net), UNKNOWN)


def located(text, whereabouts=None):
    known = whereabouts or Whereabouts(Network(), Files())
    return OriginKnowledge(None, None, known).locate(ipaddress.ip_network(text), 0.0)


def test_the_width_of_a_record_is_the_scope():
    assert located("80.1.2.0/24").scope_bits == 16
    assert located("2a01:e00:1::/48").scope_bits == 28
    assert located("80.1.2.0/24").spot.place == PARIS


def test_networks_of_one_record_share_a_spot():
    assert located("80.1.2.0/24") == located("80.1.77.0/24")


def test_a_record_narrower_than_what_answers_are_kept_for():
    assert located("81.1.1.0/24").scope_bits == 24  # unknown there: its first address is in no record
    assert located("81.1.1.128/25").scope_bits == 24


def test_nothing_known_is_the_networks_own():
    found = located("203.0.113.0/24")
    assert (found.spot.prefix, found.spot.place, found.scope_bits) == ("203.0.113.0/24", None, 24)
    assert located("203.0.0.0/18").scope_bits == 18


def test_a_network_that_was_measured_is_its_own():
    known = Whereabouts(Network(), Files())
    spot = known.spot("80.1.2.3", 0.0)
    known.network.learn(spot, (Sample("a", PARIS, 5.0, 3, "", 0.0),), 0.0)
    found = located("80.1.2.0/24", known)
    assert (found.spot.prefix, found.scope_bits) == ("80.1.2.0/24", 24)
    assert located("80.1.3.0/24", known).scope_bits == 16


def test_a_clients_own_probes_are_not_its_neighbours():
    known = Whereabouts(Network(), Files())
    known.network.learn(
        known.spot("203.0.113.0", 0.0), (Sample("a", PARIS, 5.0, 3, "203.0.113.0", 0.0),), 0.0
    )
    assert known.spot("203.0.113.0", 0.0).client or known.network.has_probes("203.0.113.0")
    assert located("203.0.113.0/24", known).spot.client == ""
