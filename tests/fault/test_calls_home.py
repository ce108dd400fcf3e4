"""Nothing of the network speaks to another machine: not the engines' libraries, not the object store."""

from __future__ import annotations

import ipaddress
import sys
import time
from pathlib import Path

import pytest

from edge_node.client import Client

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the sockets of other processes from /proc"),
]

LOOK_S = 15.0


def address_of(text):
    """`0100007F:1F90` of /proc/net/tcp: words of four bytes, each in the order of this machine."""
    digits = text.partition(":")[0]
    words = [bytes.fromhex(digits[at : at + 8])[:: -1 if sys.byteorder == "little" else 1]
             for at in range(0, len(digits), 8)]  # fmt: skip
    address = ipaddress.ip_address(b"".join(words))
    return getattr(address, "ipv4_mapped", None) or address


def sockets_of(pids):
    """The inodes of the sockets that these processes hold."""
    found = set()
    for pid in pids:
        try:
            links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:  # it, or a descriptor of it, has just gone
            continue
        found |= {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:[")}
    return found


def strangers(pids):
    """Where sockets of these processes lead, other than to this machine."""
    mine = sockets_of(pids)
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            remote = address_of(fields[2])
            if fields[9] in mine and not remote.is_loopback and not remote.is_unspecified:
                found.add(f"{table} {remote}")
    return found


def test_addresses_are_read_as_the_kernel_writes_them():
    assert address_of("0100007F:1F90").is_loopback
    assert address_of("0000000000000000FFFF00000100007F:0050").is_loopback
    assert str(address_of("08080808:0035")) == "8.8.8.8"


def test_no_process_speaks_to_another_machine(network, fault_tools):
    processes_of, _ = fault_tools
    pids = processes_of(network.directory)
    assert len(pids) == 8  # a store, an origin, two nodes with two engines each
    found = set()
    deadline_s = time.monotonic() + LOOK_S
    with Client(network.origin_url) as client:
        while time.monotonic() < deadline_s:
            assert client.chat("Hi.", model="chat", max_tokens=2, temperature=0).text
            assert client.embed(["hi"], model="embed")
            found |= strangers(pids)
    assert not found
    assert not (Path.home() / ".cache" / "Microsoft").exists()
