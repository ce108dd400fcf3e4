"""A release fetched from an origin and from peers that have it, or lie, or go away."""

import asyncio
import random

import pytest
from structlog.testing import capture_logs

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import ChunkMismatchError, DiskFullError, StoreUnavailableError
from registry.fetch import fetch
from registry.fetch.neighbours import Neighbours
from registry.fetch.shelf import Shelf
from registry.manifest import manifest_digest
from registry.publish import publish
from tests.registry.fetch.peering import Peer, Source, holds, neighbours, whole_shelf

pytestmark = pytest.mark.usefixtures("small_shares")


async def test_nodes_that_begin_together_cost_the_origin_about_one_copy(tmp_path, store, release):
    manifest, files = release
    shelves = {f"node-{number}": Shelf() for number in range(6)}
    source = Source(store)

    async def pull(name):
        peers = [
            Peer(other, shelf) for other, shelf in shelves.items()
        ]  # itself as well: it must not ask itself
        target = tmp_path / name / "1"
        report = await fetch(
            manifest, source, target, neighbours=neighbours(name, peers, shelves[name], patience_s=20.0)
        )
        assert holds(target, files)
        assert report.peer_bytes + report.fetched_bytes == pytest.approx(report.total_bytes, rel=0.01)

    await asyncio.gather(*map(pull, shelves))
    assert source.sent_bytes < 1.05 * sum(map(len, files.values()))


async def test_a_node_that_holds_the_release_spares_the_origin(tmp_path, store, release):
    manifest, files = release
    peer = Peer("holder", await whole_shelf(tmp_path, store, manifest))
    source, steps = Source(store), []
    report = await fetch(
        manifest, source, tmp_path / "a/1", neighbours=neighbours("a", [peer]), progress=steps.append
    )
    assert holds(tmp_path / "a/1", files)
    assert report.peer_bytes > 0.5 * report.total_bytes
    assert {"holder"} <= {step.source for step in steps}
    assert steps[-1].done_bytes == report.total_bytes


async def test_a_peer_is_dropped_after_two_wrong_answers(tmp_path, store, release):
    manifest, files = release

    async def flip(raw):
        return bytes([raw[0] ^ 1]) + raw[1:]

    shelf = await whole_shelf(tmp_path, store, manifest)
    liar, other = Peer("liar", shelf, flip), Peer("other", shelf)
    await fetch(manifest, Source(store), tmp_path / "a/1", neighbours=neighbours("a", [liar, other]))
    assert holds(tmp_path / "a/1", files)
    assert liar.asked_count < 2 + 8  # the others were under way when the second wrong answer came
    alone = Source(store)
    await fetch(manifest, alone, tmp_path / "b/1", neighbours=neighbours("b", [Peer("liar", shelf, flip)]))
    assert holds(tmp_path / "b/1", files)


async def test_an_origin_that_goes_away_or_rots_is_replaced_by_peers(tmp_path, store, release):
    manifest, files = release
    shelf = await whole_shelf(tmp_path, store, manifest)
    away = Source(store)
    away.failure = StoreUnavailableError("away")
    await fetch(manifest, away, tmp_path / "a/1", neighbours=neighbours("a", [Peer("holder", shelf)]))
    assert holds(tmp_path / "a/1", files)
    rotten = Source(store)
    rotten.meddle = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    await fetch(manifest, rotten, tmp_path / "b/1", neighbours=neighbours("b", [Peer("holder", shelf)]))
    assert holds(tmp_path / "b/1", files)


async def test_a_defect_in_what_asks_the_peers_is_logged_and_costs_no_fetch(tmp_path, store, release):
    manifest, files = release

    class Broken(Peer):
        async def have(self, manifest):
            raise ValueError("a defect")

    with capture_logs() as told:
        await fetch(
            manifest, Source(store), tmp_path / "a/1", neighbours=neighbours("a", [Broken("broken", Shelf())])
        )
    assert holds(tmp_path / "a/1", files)
    assert [line["task"] for line in told if line["event"] == "task.broke"] == ["swarm follow broken"]

    looks = iter([[Peer("other", Shelf())]])

    with capture_logs() as told:
        around = Neighbours("b", lambda: next(looks), Shelf(), 0.2)  # who looks again finds a defect
        await fetch(manifest, Source(store), tmp_path / "b/1", neighbours=around)
    assert holds(tmp_path / "b/1", files)
    assert [line["task"] for line in told if line["event"] == "task.broke"][:1] == ["swarm peers"]


async def test_a_peer_that_stops_answering_is_logged_once(tmp_path, store, release):
    manifest, _ = release

    class Silent(Peer):
        async def have(self, manifest):
            self.asked_count += 1
            if self.asked_count == 4:
                enough.set()
            raise StoreUnavailableError("nobody answers")

    source, silent, enough = Source(store), Silent("silent", Shelf()), asyncio.Event()
    read_range = source.read_range

    async def late(key, offset_bytes, length_bytes):
        await enough.wait()
        return await read_range(key, offset_bytes, length_bytes)

    source.read_range = late
    with capture_logs() as told:
        await fetch(manifest, source, tmp_path / "a/1", neighbours=neighbours("a", [silent]))
    lines = [line for line in told if line["event"] == "peer.fell_silent"]
    assert [(line["peer"], line["error"]) for line in lines] == [("silent", "nobody answers")]


async def test_what_nobody_has_is_the_origins_error(tmp_path, store, release):
    manifest, _ = release
    source = Source(store)
    source.failure = StoreUnavailableError("away")
    with pytest.raises(StoreUnavailableError, match="away"):
        await fetch(manifest, source, tmp_path / "a/1", neighbours=neighbours("a", [Peer("empty", Shelf())]))
    source.failure, source.meddle = None, lambda data: bytes(len(data))
    with pytest.raises(ChunkMismatchError):
        await fetch(manifest, source, tmp_path / "a/1", neighbours=neighbours("a", [Peer("empty", Shelf())]))


async def test_a_full_disk_is_not_mistaken_for_a_bad_source(tmp_path, store, release, monkeypatch):
    def full(*_):
        raise DiskFullError("full")

    manifest, _ = release
    shelf = await whole_shelf(tmp_path, store, manifest)
    monkeypatch.setattr("registry.release_directory.ReleaseDirectory.write_piece", full)
    with pytest.raises(DiskFullError):
        await fetch(
            manifest, Source(store), tmp_path / "a/1", neighbours=neighbours("a", [Peer("holder", shelf)])
        )


async def test_a_small_update_does_not_bother_the_peers(tmp_path, store):
    (tmp_path / "small.bin").write_bytes(random.Random(1).randbytes(100_000))
    publish(tmp_path / "small.bin", name="chat", version="1", store=store, created_unix_s=1)
    manifest = Catalog(store).manifest("chat", "1")[0]
    peer = Peer("holder", await whole_shelf(tmp_path, store, manifest))
    await fetch(manifest, Source(store), tmp_path / "a/1", neighbours=neighbours("a", [peer]))
    assert peer.asked_count == 0


async def test_a_shelf_gives_right_bytes_or_none(tmp_path, store, release):
    manifest, files = release
    shelf = await whole_shelf(tmp_path, store, manifest)
    digests = {name: digest_of(data) for name, data in files.items()}
    assert shelf.read(digests["03.bin"]) == files["03.bin"]
    assert shelf.have(digest_of(b"another")) is None
    place = tmp_path / "holder/1/files/03.bin"
    place.write_bytes(files["03.bin"][:-1] + b"\0")
    assert shelf.read(digests["03.bin"]) in {None, files["03.bin"]}
    assert digest_of(place.read_bytes()) == digests["03.bin"] or shelf.read(digests["03.bin"]) is None
    place.unlink()
    assert shelf.read(digests["03.bin"]) is None
    shelf.offer_whole({})
    assert shelf.read(digests["04.bin"]) is None
    assert shelf.have(manifest_digest(manifest)) is None
