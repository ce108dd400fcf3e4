"""Neighbours: a node among its peers, for one fetch: whom it may ask, and what it offers in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registry.fetch.chunk_peer import ChunkPeer
    from registry.fetch.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A node among its peers.

    Attributes:
        node_id: its own name.
        peers: who else holds or fetches the release, now; asked again and again while a fetch goes on.
        shelf: what it offers to others, the fetch that is going on included.
        patience_s: how long to wait for peers that give nothing new, before the origin is asked for their part too.
    """

    node_id: str
    peers: Callable[[], Sequence[ChunkPeer]]
    shelf: Shelf
    patience_s: float = 2.0
