"""ChunkPeer: another node that holds chunks of a release or is fetching it.

A peer needs no trust: what it gives is checked against the digests of the manifest, and it is left alone after two
wrong answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from registry.digest import Digest


class ChunkPeer(Protocol):
    """Gives raw chunks by their digests."""

    @property
    def name(self) -> str:
        """The node's id: by it nodes agree on whose turn it is."""
        ...

    @property
    def variants(self) -> frozenset[str] | None:
        """The variants that it holds or fetches, as it said last; None when it has not said."""
        ...

    async def have(self, manifest: Digest) -> bytes | None:
        """Which chunks of a manifest it has, as a bitmap; None when it has not begun. Raises EdgewardError."""
        ...

    async def chunk(self, digest: Digest, raw_bytes: int) -> bytes:
        """What it says are the raw bytes of a chunk, no more than `raw_bytes`. Raises EdgewardError."""
        ...
