"""Ports: a block is free or refused with the port that is taken."""

from __future__ import annotations

import socket

import pytest

from deploy.local.ports import NetworkPorts, fixed_ports, free_ports
from registry.errors import ConfigError


def listen(port):
    return socket.create_server(("127.0.0.1", port))


def test_no_two_parts_share_a_port():
    ports = NetworkPorts(7700)
    store = [ports.s3, *ports.store_inner]
    everything = [ports.origin, *(ports.node(i) for i in range(9)), *store, *(p + 10_000 for p in store)]
    assert len(set(everything)) == len(everything)


def test_a_taken_port_is_named():
    base = free_ports(3, start_port=31_000).base_port
    with listen(base + 2), pytest.raises(ConfigError, match=f"port {base + 2} "):
        fixed_ports(base, 3)
    assert fixed_ports(base, 3) == NetworkPorts(base)


def test_the_next_block_is_taken_when_one_is_in_use():
    first = free_ports(3, start_port=32_000).base_port
    with listen(first + 11):
        assert free_ports(3, start_port=first).base_port > first


@pytest.mark.parametrize("base", [0, 80, 40_001, 70_000])
def test_a_base_out_of_range_is_refused(base):
    with pytest.raises(ConfigError, match="must lie between"):
        fixed_ports(base, 3)
