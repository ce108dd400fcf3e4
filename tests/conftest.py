"""The real parts that slow tests stand on: an S3 server and the sample models, started or found once a session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registry.store.config import StoreConfig


@pytest.fixture(scope="session")
def s3_store_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreConfig]:
    """A SeaweedFS server of this session alone."""
    from deploy.local.network import LocalNetwork
    from deploy.local.ports import free_ports

    network = LocalNetwork(tmp_path_factory.mktemp("s3"), free_ports(0, start_port=23_000))
    try:
        asyncio.run(network.start_store())
        yield network.store_config
    finally:
        network.stop()


@pytest.fixture(scope="session")
def sample_models() -> Path:
    """The directory with `smollm2/…gguf` and `minilm/{model.onnx,tokenizer.json}`."""
    from deploy.local.samples import chat_model, embedding_model, samples_home

    chat_model()
    embedding_model()
    return samples_home()
