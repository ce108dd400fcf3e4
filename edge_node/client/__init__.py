"""Client: the Python SDK, which asks the origin for the nearest nodes and then talks to them directly.

    with Client() as client:
        print(client.chat("Name a river.").text)

What is exported here is loaded when it is first named, so that importing this package costs almost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_node.client.answers import (
        ChatAnswer,
        Classes,
        Classified,
        Completion,
        Embeddings,
        Piece,
        Ranked,
        Ranking,
        Served,
        Usage,
        Waiting,
    )
    from edge_node.client.asynchronous import AsyncClient
    from edge_node.client.config import ClientConfig
    from edge_node.client.stream import TextStream
    from edge_node.client.synchronous import Client, SyncTextStream
    from edge_node.client.tensors import Tensor, Tensors
    from origin.api import Place

_HOMES = {
    "Tensors": "edge_node.client.tensors",
    "Tensor": "edge_node.client.tensors",
    "Waiting": "edge_node.client.answers",
    "Ranking": "edge_node.client.answers",
    "Ranked": "edge_node.client.answers",
    "Classified": "edge_node.client.answers",
    "Classes": "edge_node.client.answers",
    "AsyncClient": "edge_node.client.asynchronous",
    "ChatAnswer": "edge_node.client.answers",
    "Client": "edge_node.client.synchronous",
    "ClientConfig": "edge_node.client.config",
    "Completion": "edge_node.client.answers",
    "Embeddings": "edge_node.client.answers",
    "Piece": "edge_node.client.answers",
    "Place": "origin.api",
    "Served": "edge_node.client.answers",
    "SyncTextStream": "edge_node.client.synchronous",
    "TextStream": "edge_node.client.stream",
    "Usage": "edge_node.client.answers",
}

__all__ = [
    "AsyncClient",
    "ChatAnswer",
    "Classes",
    "Classified",
    "Client",
    "ClientConfig",
    "Completion",
    "Embeddings",
    "Piece",
    "Place",
    "Ranked",
    "Ranking",
    "Served",
    "SyncTextStream",
    "Tensor",
    "Tensors",
    "TextStream",
    "Usage",
    "Waiting",
]


def __getattr__(name: str) -> Any:
    """The exported name, from the file that owns it."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """The exported names."""
    return list(__all__)
