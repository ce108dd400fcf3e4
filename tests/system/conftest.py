"""One real network for the tests of a module: object store, origin, two nodes, two real models."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from registry.publish import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NODES = SITES[:2]
WANTED = [("chat", "1.0.0"), ("embed", "1.0.0")]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, sample_models: Path) -> Iterator[LocalNetwork]:
    network = LocalNetwork(tmp_path_factory.mktemp("network"), free_ports(len(NODES), start_port=24_000))

    async def start() -> None:
        store = await network.start_store()
        await network.start_origin()
        for name, path in (("chat", sample_models / "smollm2"), ("embed", sample_models / "minilm")):
            publish(path, name=name, version="1.0.0", store=store, created_unix_s=int(time.time()))
        for index, site in enumerate(NODES):
            network.start_node(site, index)
        await network.wait_until_serving(WANTED, timeout_s=300)

    try:
        asyncio.run(start())
        yield network
    finally:
        network.stop()
