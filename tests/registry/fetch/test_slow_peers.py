"""Peers that hang, are busy, move or give nothing hold no fetch up."""

import asyncio

import pytest

from registry.errors import StoreUnavailableError
from registry.fetch import fetch
from registry.fetch.neighbours import Neighbours
from registry.fetch.shelf import Shelf
from tests.registry.fetch.peering import Peer, Source, holds, neighbours, whole_peer, whole_shelf

pytestmark = pytest.mark.usefixtures("small_shares")


async def test_peers_that_never_begin_do_not_hold_a_node_up(tmp_path, store, release):
    manifest, files = release
    peers = [Peer(f"idle-{number}", Shelf()) for number in range(3)]
    report = await fetch(
        manifest, Source(store), tmp_path / "a/1", neighbours=neighbours("a", peers, patience_s=0.05)
    )
    assert holds(tmp_path / "a/1", files)
    assert report.peer_bytes == 0


async def test_a_peer_that_hangs_is_overtaken_by_another_source(tmp_path, store, release, monkeypatch):
    manifest, files = release
    monkeypatch.setattr("registry.fetch.turns.Pace._LEAST_COUNT", 1)
    monkeypatch.setattr(
        "registry.fetch.swarm.Pace", lambda: __import__("registry.fetch.turns").fetch.turns.Pace(least_s=0.01)
    )
    hung = asyncio.Event()

    async def hang(raw):
        await hung.wait()
        return raw

    shelf = await whole_shelf(tmp_path, store, manifest)
    slow, good = Peer("slow", shelf, hang), Peer("good", shelf)
    await fetch(manifest, Source(store), tmp_path / "a/1", neighbours=neighbours("a", [slow, good]))
    assert holds(tmp_path / "a/1", files)
    assert slow.asked_count > 0


class Hanging(Peer):
    """Says that it has everything, and never comes to the end of a chunk."""

    def __init__(self, name, shelf):
        super().__init__(name, shelf)
        self.heard = asyncio.Event()

    async def have(self, manifest):
        self.heard.set()
        return await super().have(manifest)

    async def chunk(self, digest, raw_bytes):
        self.asked_count += 1
        await asyncio.Event().wait()


@pytest.mark.parametrize(("concurrency_count", "hanging_count"), [(1, 1), (2, 1), (4, 2)])
async def test_peers_that_hang_for_ever_do_not_hold_a_node_up(
    tmp_path, store, release, concurrency_count, hanging_count
):
    manifest, files = release
    shelf = await whole_shelf(tmp_path, store, manifest)
    peers = [Hanging(f"hanging-{number}", shelf) for number in range(hanging_count)]
    async with asyncio.timeout(60):
        await fetch(
            manifest, Source(store), tmp_path / "a/1", concurrency_count=concurrency_count,
            neighbours=neighbours("a", peers, patience_s=0.05),
        )  # fmt: skip
    assert holds(tmp_path / "a/1", files)


async def test_a_peer_that_hangs_is_left_alone_after_a_while(tmp_path, store, release):
    manifest, files = release
    hanging, source = Hanging("hanging", await whole_shelf(tmp_path, store, manifest)), Source(store)

    async def late(key, offset_bytes, length_bytes):
        await hanging.heard.wait()
        return await Source.read_range(source, key, offset_bytes, length_bytes)

    source.read_range = late
    async with asyncio.timeout(60):
        await fetch(
            manifest, source, tmp_path / "a/1", concurrency_count=1,
            neighbours=neighbours("a", [hanging], patience_s=0.05),
        )  # fmt: skip
    assert holds(tmp_path / "a/1", files)
    assert 8 <= hanging.asked_count < 8 + 6  # those that were under way when the eighth was overtaken


async def test_where_many_hang_and_the_origin_is_gone_the_one_that_answers_is_found(tmp_path, store, release):
    manifest, files = release
    away = Source(store)
    away.failure = StoreUnavailableError("away")
    shelf = await whole_shelf(tmp_path, store, manifest)
    peers = [Hanging("hanging-1", shelf), Hanging("hanging-2", shelf), Peer("good", shelf)]
    async with asyncio.timeout(60):
        await fetch(
            manifest, away, tmp_path / "a/1", concurrency_count=4,
            neighbours=neighbours("a", peers, patience_s=0.05),
        )  # fmt: skip
    assert holds(tmp_path / "a/1", files)


async def test_a_peer_that_was_too_busy_for_a_moment_is_asked_again(tmp_path, store, release):
    manifest, files = release
    source, served, all_asked = Source(store), asyncio.Event(), asyncio.Event()

    class Busy(Peer):
        async def chunk(self, digest, raw_bytes):
            self.asked_count += 1
            if self.asked_count == 8:
                all_asked.set()
            if self.asked_count <= 8:
                await all_asked.wait()
                raise StoreUnavailableError("busy")
            served.set()
            return await asyncio.to_thread(self.shelf.read, digest)

    async def late(key, offset_bytes, length_bytes):
        await served.wait()
        return await Source.read_range(source, key, offset_bytes, length_bytes)

    source.read_range = late
    busy = Busy("busy", await whole_shelf(tmp_path, store, manifest))
    async with asyncio.timeout(60):
        await fetch(
            manifest, source, tmp_path / "a/1", concurrency_count=4,
            neighbours=neighbours("a", [busy]),
        )  # fmt: skip
    assert holds(tmp_path / "a/1", files)


async def test_a_peer_that_never_gives_what_it_says_it_has_is_left_alone(tmp_path, store, release):
    manifest, files = release
    empty = Peer("empty", Shelf())
    empty.have = (await whole_peer(tmp_path, store, manifest)).have
    async with asyncio.timeout(60):
        await fetch(
            manifest, Source(store), tmp_path / "a/1", concurrency_count=1,
            neighbours=neighbours("a", [empty], patience_s=0.05),
        )  # fmt: skip
    assert holds(tmp_path / "a/1", files)
    assert empty.asked_count <= 8 * 2


async def test_a_peer_that_moves_is_asked_at_its_new_place(tmp_path, store, release):
    manifest, files = release
    source, asked = Source(store), asyncio.Event()

    class Dead(Peer):
        async def have(self, manifest):
            moved.set()
            raise StoreUnavailableError("nobody answers")

    class Alive(Peer):
        async def chunk(self, digest, raw_bytes):
            asked.set()
            return await super().chunk(digest, raw_bytes)

    async def late(key, offset_bytes, length_bytes):
        await asked.wait()
        return await Source.read_range(source, key, offset_bytes, length_bytes)

    moved, source.read_range = asyncio.Event(), late
    dead, alive = Dead("holder", Shelf()), Alive("holder", await whole_shelf(tmp_path, store, manifest))
    around = Neighbours("a", lambda: [alive if moved.is_set() else dead], Shelf(), 0.2)
    async with asyncio.timeout(60):
        await fetch(manifest, source, tmp_path / "a/1", neighbours=around)
    assert holds(tmp_path / "a/1", files)
    assert alive.asked_count > 0
