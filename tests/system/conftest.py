"""One real network for the tests of a module: object store, origin, two nodes, two real models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES = SITES[:2]
WANTED = [("chat", "1.0.0"), ("embed", "1.0.0")]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, start_network) -> Iterator[LocalNetwork]:
    network = LocalNetwork(tmp_path_factory.mktemp("network"), free_ports(len(NODES), start_port=24_000))

    try:
        start_network(network, NODES)
        yield network
    finally:
        network.stop()
