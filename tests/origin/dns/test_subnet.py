"""Client subnets: read by RFC 7871 or refused, and cut to what answers are kept for."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.dns.subnet import answered, client_at, network_of, read_subnet, shortened


@pytest.mark.parametrize(
    ("data", "network"),
    [
        (b"\0\1\x18\0\x50\1\2", "80.1.2.0/24"),
        (b"\0\1\x20\0\x50\1\2\3", "80.1.2.0/24"),
        (b"\0\1\x14\0\x50\1\x20", "80.1.32.0/20"),
        (b"\0\1\1\0\x80", "128.0.0.0/1"),
        (b"\0\2\x20\0\x20\1\x0d\xb8", "2001:db8::/32"),
        (b"\0\2\x38\0\x20\1\x0d\xb8\0\1\2", "2001:db8:1::/48"),
        (b"\0\2\x80\0" + b"\x20" * 16, "2020:2020:2020::/48"),
    ],
)
def test_networks(data, network):
    assert network_of(read_subnet(data).client) == ipaddress.ip_network(network)


@pytest.mark.parametrize("family", [0, 1, 2])
def test_a_source_prefix_of_zero_asks_not_to_be_looked_at(family):
    data = bytes([0, family, 0, 0])
    found = read_subnet(data)
    assert found.client == b""
    assert answered(found.data, 24) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\1\x18",
        b"\0\1\x18\0\x50\1",  # too short
        b"\0\1\x18\0\x50\1\2\3",  # too long
        b"\0\1\x18\x18\x50\1\2",  # a scope in a question
        b"\0\1\x21\0\x50\1\2\3\4",  # over 32
        b"\0\2\x81\0" + b"\0" * 17,
        b"\0\1\x14\0\x50\1\x21",  # a bit behind the prefix
        b"\0\1\x17\0\x50\1\3",
        b"\0\3\x18\0\x50\1\2",  # no such family
        b"\0\3\0\0",
        b"\0\0\x18\0\x50\1\2",
        b"\0\1\0\0\0",
        b"\1\1\x18\0\x50\1\2",
    ],
)
def test_what_breaks_the_rules_is_refused(data):
    assert read_subnet(data) is None


@given(st.binary(max_size=24))
def test_whatever_is_read_is_a_network_that_holds_the_address(data):
    found = read_subnet(data)
    if found is not None and found.client:
        width = 4 if data[1] == 1 else 16
        assert ipaddress.ip_address(data[4:].ljust(width, b"\0")) in network_of(found.client)
        assert answered(data, 17) == data[:3] + b"\x11" + data[4:]


def test_addresses():
    assert network_of(client_at(bytes([192, 0, 2, 77]))) == ipaddress.ip_network("192.0.2.0/24")
    address = ipaddress.ip_address("2001:db8:1:2::3")
    assert network_of(client_at(address.packed)) == ipaddress.ip_network("2001:db8:1::/48")
    assert read_subnet(b"\0\1\x20\0\xc0\0\2\x4d").client == client_at(bytes([192, 0, 2, 77]))


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 48), st.integers(1, 48))
def test_a_shortened_client_is_that_of_its_network(a, b, bits, kept_bits):
    def of(address):
        width = address.max_prefixlen
        network = ipaddress.ip_network((address, min(kept_bits, width)), strict=False)
        data = bytes([0, 1 if width == 32 else 2, network.prefixlen, 0])
        data += network.network_address.packed[: (network.prefixlen + 7) // 8]
        client = read_subnet(data).client
        known = network_of(client)
        return shortened(client, bits), known.supernet(new_prefix=min(bits, known.prefixlen))

    (text_a, net_a), (text_b, net_b) = of(a), of(b)
    assert (text_a == text_b) is (net_a == net_b)
