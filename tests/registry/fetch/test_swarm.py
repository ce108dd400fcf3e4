import asyncio
import random

import pytest
from structlog.testing import capture_logs

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import ChunkMismatchError, DiskFullError, StoreUnavailableError
from registry.fetch import StoreSource, fetch
from registry.fetch.neighbours import Neighbours
from registry.fetch.shelf import Shelf
from registry.manifest import manifest_digest
from registry.publish import publish


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


@pytest.fixture
def release(tmp_path, store):
    """A release of 3 files and 24 chunks; its manifest and its files."""
    files = {}
    for number in range(24):
        place = tmp_path / "source" / f"{number:02}.bin"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(random.Random(number).randbytes(200_000 + number))
        files[place.name] = place.read_bytes()
    publish(tmp_path / "source", name="chat", version="1", store=store, created_unix_s=1)
    return Catalog(store).manifest("chat", "1")[0], files


@pytest.fixture(autouse=True)
def _small_shares(monkeypatch):
    monkeypatch.setattr("registry.fetch.turns.SHARE_BYTES", 400_000)


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
