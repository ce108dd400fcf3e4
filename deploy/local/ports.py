"""Ports of the local network: fixed ones for `up`, free ones for `demo` and tests."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from registry.errors import ConfigError

_GRPC_OFFSET = 10_000  # SeaweedFS puts each service's gRPC port this far above its HTTP port
_HIGHEST_BASE = 40_000
_STEP = 20


@dataclass(frozen=True, slots=True)
class NetworkPorts:
    """Where everything listens; the nodes' ports follow `first_node`."""

    base_port: int

    @property
    def origin(self) -> int:
        """The origin's port."""
        return self.base_port

    def origin_at(self, index: int) -> int:
        """The port of an origin, 0 being the first."""
        return self.origin if index == 0 else self.base_port + 15 + index

    @property
    def nats(self) -> int:
        """The port over which several origins share what they know."""
        return self.base_port + 15

    def node(self, index: int) -> int:
        """The port of a node, 0 being the first."""
        return self.base_port + 1 + index

    def door_at(self, index: int) -> int:
        """The port for nodes of an origin, 0 being the first."""
        return self.base_port + 9 - index

    @property
    def s3(self) -> int:
        """The object store's S3 port."""
        return self.base_port + 10

    @property
    def store_inner(self) -> tuple[int, int, int, int]:
        """The object store's own services: master, volume, filer, admin."""
        return (self.base_port + 11, self.base_port + 12, self.base_port + 13, self.base_port + 14)

    def taken(self, nodes_count: int, origins_count: int = 1) -> list[int]:
        """Those ports of the network that another program listens on."""
        store = (self.s3, *self.store_inner)
        wanted = [self.origin, self.door_at(0), *(self.node(index) for index in range(nodes_count)), *store]
        wanted += [port + _GRPC_OFFSET for port in store]
        if origins_count > 1:
            further = range(1, origins_count)
            wanted += [self.nats, *map(self.origin_at, further), *map(self.door_at, further)]
        return [port for port in wanted if not _is_free(port)]


def fixed_ports(base_port: int, nodes_count: int, origins_count: int = 1) -> NetworkPorts:
    """The ports that start at `base_port`.

    Raises:
        ConfigError: one of them is in use, or the base is out of range.
    """
    if not 1024 <= base_port <= _HIGHEST_BASE:
        raise ConfigError(f"the first port must lie between 1024 and {_HIGHEST_BASE}, not {base_port}")
    ports = NetworkPorts(base_port)
    taken = ports.taken(nodes_count, origins_count)
    if taken:
        raise ConfigError(
            f"port {taken[0]} on 127.0.0.1 is in use by another program (perhaps another `edgeward up`); "
            "stop it, or choose other ports with --port"
        )
    return ports


def free_ports(nodes_count: int, *, origins_count: int = 1, start_port: int = 21_700) -> NetworkPorts:
    """The first block of ports, from `start_port` on, of which none is in use.

    Raises:
        ConfigError: there is no such block.
    """
    for base_port in range(start_port, _HIGHEST_BASE, _STEP):
        ports = NetworkPorts(base_port)
        if not ports.taken(nodes_count, origins_count):
            return ports
    raise ConfigError(f"no block of free ports between {start_port} and {_HIGHEST_BASE}")


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
