"""Addresses from text, and the networks that stand for clients."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.addresses import network_of, read_address


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("198.18.5.6", "198.18.5.0/24"),  # for benchmarks: the namespaces of our own tests
        ("2001:DB8:1:2:3::4", "2001:db8:1::/48"),
        ("[2001:db8:1::9]", "2001:db8:1::/48"),
        ("10.1.2.3", ""), ("172.31.0.1", ""), ("192.168.1.1", ""), ("127.0.0.1", ""), ("169.254.1.1", ""),
        ("100.64.1.1", ""), ("0.0.0.0", ""), ("224.0.0.1", ""), ("255.255.255.255", ""),
        ("::1", ""), ("::", ""), ("fe80::1%eth0", ""), ("fd00::1", ""), ("ff02::1", ""), ("::ffff:10.0.0.1", ""),
    ],
)  # fmt: skip
def test_the_network_of_an_address(text, network):
    address = read_address(text)
    assert address is not None
    assert network_of(address) == network


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1.2.3.4.5", "1.2.3.256", "::g", "1.2.3.4/24", "é", "1" * 5000]
)
def test_what_is_no_address_is_none(text):
    assert read_address(text) is None


@given(st.ip_addresses())
def test_a_network_holds_its_address(address):
    network = network_of(address)
    assert not network or address in ipaddress.ip_network(network)
    assert not network or str(ipaddress.ip_network(network)) == network
