"""A source and peers in this process, and what fetches among them leave behind."""

from __future__ import annotations

import asyncio

from registry.errors import StoreUnavailableError
from registry.fetch import StoreSource, fetch
from registry.fetch.neighbours import Neighbours
from registry.fetch.shelf import Shelf
from registry.manifest import manifest_digest


class Source(StoreSource):
    """The origin; counts what it sends and fails when told."""

    def __init__(self, store):
        super().__init__(store)
        self.sent_bytes = 0
        self.failure = None
        self.meddle = None

    async def read_range(self, key, offset_bytes, length_bytes):
        if self.failure is not None:
            raise self.failure
        data = await super().read_range(key, offset_bytes, length_bytes)
        self.sent_bytes += len(data)
        return data if self.meddle is None else self.meddle(data)


class Peer:
    """A peer in this process: another node's shelf; `meddle` changes its answers."""

    def __init__(self, name, shelf, meddle=None):
        self.name = name
        self.shelf = shelf
        self.meddle = meddle
        self.asked_count = 0

    variants = None

    async def have(self, manifest):
        return await asyncio.to_thread(self.shelf.have, manifest)

    async def chunk(self, digest, raw_bytes):
        self.asked_count += 1
        raw = await asyncio.to_thread(self.shelf.read, digest)
        if raw is None:
            raise StoreUnavailableError("not here")
        return raw if self.meddle is None else await self.meddle(raw)


def neighbours(node, peers, shelf=None, patience_s=0.2):
    return Neighbours(node, lambda: peers, shelf or Shelf(), patience_s)


def holds(target, files):
    return {path.name: path.read_bytes() for path in (target / "files").iterdir()} == files


async def whole_shelf(tmp_path, store, manifest, name="holder"):
    await fetch(manifest, StoreSource(store), tmp_path / name / "1")
    shelf = Shelf()
    shelf.offer_whole({manifest_digest(manifest): tmp_path / name / "1"})
    return shelf


async def whole_peer(tmp_path, store, manifest):
    return Peer("holder", await whole_shelf(tmp_path, store, manifest))
