"""Peers over HTTP: what other nodes have of a release, and their chunks; the origin says who they are."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp

from edge_node.errors import NodeUnreachableError
from registry.errors import ChunkMismatchError
from registry.fetch.neighbours import Neighbours
from registry.fetch.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from origin.api import Peer
    from registry.digest import Digest
    from registry.fetch.chunk_peer import ChunkPeer

_CONNECT_S = 3.0
_SILENCE_S = 10.0
# Who never falls silent, and never comes to an end either, is no better than who does not answer.
_SLOWEST_BYTES_PER_S = 16 * 1024
_BITMAP_LIMIT_BYTES = 2**20
VARIANTS_HEADER = "x-edgeward-variants"


class HttpPeer:
    """A `registry.fetch.chunk_peer.ChunkPeer` behind a URL."""

    def __init__(self, name: str, url: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self.variants: frozenset[str] | None = None
        self._url = url.rstrip("/")
        self._session = session

    async def have(self, manifest: Digest) -> bytes | None:
        """Which chunks of a manifest it has; None when it has not begun with it."""
        async with self._get(f"/v1/chunks/have?manifest={manifest}", _BITMAP_LIMIT_BYTES) as reply:
            if reply.status == 204:
                return None
            said = reply.headers.get(VARIANTS_HEADER)
            self.variants = None if said is None else frozenset(said.split(","))
            return await self._body(reply, _BITMAP_LIMIT_BYTES)

    async def chunk(self, digest: Digest, raw_bytes: int) -> bytes:
        """What it says are the bytes of a chunk."""
        async with self._get(f"/v1/chunks/{digest}", raw_bytes) as reply:
            return await self._body(reply, raw_bytes)

    async def _body(self, reply: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
        if reply.status != 200:
            raise NodeUnreachableError(f"the peer {self.name} at {self._url} answered {reply.status}")
        data = bytearray()
        async for part in reply.content.iter_any():  # never more in memory than was asked for
            data += part
            if len(data) > limit_bytes:
                raise ChunkMismatchError(
                    f"the peer {self.name} at {self._url} sends more than the {limit_bytes} bytes asked for"
                )
        return bytes(data)

    @contextlib.asynccontextmanager
    async def _get(self, path: str, limit_bytes: int) -> AsyncIterator[aiohttp.ClientResponse]:
        limit_s = _CONNECT_S + _SILENCE_S + limit_bytes / _SLOWEST_BYTES_PER_S
        timeout = aiohttp.ClientTimeout(total=limit_s, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
        try:
            async with self._session.get(
                self._url + path,
                timeout=timeout,
                allow_redirects=False,
                headers={"Accept-Encoding": "identity"},
            ) as reply:
                yield reply
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise NodeUnreachableError(
                f"the peer {self.name} at {self._url} cannot be reached ({error or type(error).__name__})"
            ) from error


class PeerBook:
    """Whom the origin named last, for each release; peers share one session."""

    def __init__(self) -> None:
        self._peers: Mapping[str, tuple[Peer, ...]] = {}
        self._made: dict[tuple[str, str], HttpPeer] = {}
        self._session: aiohttp.ClientSession | None = None

    def heard(self, peers: Mapping[str, tuple[Peer, ...]]) -> None:
        """Take the origin's word; releases that it says nothing about have no peers."""
        self._peers = peers
        named = {(peer.node_id, peer.url) for peers in self._peers.values() for peer in peers}
        self._made = {key: made for key, made in self._made.items() if key in named}

    def of(self, manifest: str) -> tuple[ChunkPeer, ...]:
        """The peers for a release, by the sha256 of its manifest. Call it in an event loop."""
        return tuple(self._peer(peer) for peer in self._peers.get(manifest, ()))

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _peer(self, peer: Peer) -> HttpPeer:
        key = (peer.node_id, peer.url)
        if key not in self._made:
            if self._session is None:
                self._session = aiohttp.ClientSession()
            self._made[key] = HttpPeer(peer.node_id, peer.url, self._session)
        return self._made[key]


class Exchange:
    """A node's part in giving and taking chunks."""

    def __init__(self, node_id: str) -> None:
        self.book = PeerBook()
        self.shelf = Shelf()
        self._node_id = node_id

    def neighbours(self, manifest: str) -> Neighbours:
        """What a fetch of the release with this manifest needs to know of other nodes."""
        return Neighbours(self._node_id, lambda: self.book.of(manifest), self.shelf)
