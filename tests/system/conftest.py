"""One real network for the tests of a module: object store, origin, two nodes, two real models."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registry.store.config import StoreConfig

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


@pytest.fixture
def own_store_config(tmp_path: Path) -> Iterator[StoreConfig]:
    """A SeaweedFS server of this test alone: whoever signs first in a bucket makes its root of trust."""
    store = LocalNetwork(tmp_path / "network", free_ports(0, start_port=23_000))
    try:
        asyncio.run(store.start_store())
        yield store.store_config
    finally:
        store.stop()
