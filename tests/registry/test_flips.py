"""One byte flipped anywhere: in the store, on the wire, in a peer's answer, in a file at rest. Found, and mended."""

import asyncio
import random

import pytest

from registry.catalog import Catalog
from registry.errors import InputInvalidError, StoreUnavailableError
from registry.fetch import StoreSource, fetch
from registry.fetch.neighbours import Neighbours
from registry.fetch.shelf import Shelf
from registry.layout import PACKS
from registry.manifest import manifest_digest
from registry.publish import publish
from registry.repair import repair
from registry.store.memory import MemoryStore
from registry.trust.in_memory import signed_in_memory
from registry.verify import verify

PLACES = ("store", "wire", "peer", "disk")
FILES = {f"{number}.bin": random.Random(number).randbytes(30_000 + 7 * number) for number in range(6)}


class Peer:
    def __init__(self, name, shelf, change=lambda raw: raw):
        self.name, self.shelf, self.change = name, shelf, change

    variants = None

    async def have(self, manifest):
        return self.shelf.have(manifest)

    async def chunk(self, digest, raw_bytes):
        raw = self.shelf.read(digest)
        if raw is None:
            raise StoreUnavailableError("not here")
        return self.change(raw)


class Wire(StoreSource):
    """A source whose answers pass `change`."""

    def __init__(self, store, change=lambda data: data):
        super().__init__(store)
        self.change = change

    async def read_range(self, key, offset_bytes, length_bytes):
        return self.change(await super().read_range(key, offset_bytes, length_bytes))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store with one release, and a node that holds it."""
    place, store = tmp_path_factory.mktemp("flips"), signed_in_memory()
    (place / "source").mkdir()
    for name, data in FILES.items():
        (place / "source" / name).write_bytes(data)
    publish(place / "source", name="chat", version="1", store=store, created_unix_s=1)
    manifest = Catalog(store).manifest("chat", "1")[0]
    asyncio.run(fetch(manifest, StoreSource(store), place / "holder"))
    shelf = Shelf()
    shelf.offer_whole({manifest_digest(manifest): place / "holder"})
    return store, manifest, shelf


def flipped(data, chance):
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def once(chance):
    """Flips a bit in one answer."""
    turns = [chance.randrange(3)]

    def change(data):
        turns[0] -= 1
        return flipped(data, chance) if turns[0] == -1 else data

    return change


async def play(seed, world, directory):
    store, manifest, shelf = world
    chance = random.Random(seed)
    place = PLACES[seed % len(PLACES)]
    target = directory / "1"
    source, peers = Wire(store), [Peer("holder", shelf)]
    if place == "store":
        rotten = MemoryStore()
        for info in store.list(PACKS):
            rotten.put_if_absent(info.key, flipped(store.get(info.key).data, chance))
        source = Wire(rotten)
    elif place == "wire":
        source, peers = Wire(store, once(chance)), []
    elif place == "peer":
        peers = [Peer("holder", shelf, once(chance))]
    neighbours = Neighbours("asker", lambda: peers, Shelf(), patience_s=0.5)
    if place == "disk":
        await fetch(manifest, source, target)
        victim = target / "files" / chance.choice(sorted(FILES))
        victim.write_bytes(flipped(victim.read_bytes(), chance))
        report = await repair(target, source)
        assert report.replaced == (victim.name,)
        assert report.fetched_bytes < 60_000
    else:
        await fetch(manifest, source, target, neighbours=neighbours)
    assert {path.name: path.read_bytes() for path in (target / "files").iterdir()} == FILES
    assert verify(target).whole
    assert sorted(path.name for path in directory.iterdir()) == ["1"]


@pytest.fixture(autouse=True)
def _peers_are_always_worth_asking(monkeypatch):
    monkeypatch.setattr("registry.fetch.job._PEERS_WORTH_BYTES", 1)


@pytest.mark.parametrize("seed", range(25))
async def test_a_flipped_byte_is_found_and_mended(seed, world, tmp_path):
    await play(seed, world, tmp_path)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(1000, 1500))
async def test_each_of_many_flipped_bytes_is_found_and_mended(seed, world, tmp_path):
    await play(seed, world, tmp_path)


async def test_a_whole_release_is_left_alone_and_a_missing_file_comes_back(world, tmp_path):
    store, manifest, _ = world
    await fetch(manifest, StoreSource(store), tmp_path / "1")
    assert (await repair(tmp_path / "1", StoreSource(store))).replaced == ()
    (tmp_path / "1/files/3.bin").unlink()
    (tmp_path / ".mending-1").mkdir()  # of a repair that was cut off
    assert (await repair(tmp_path / "1", StoreSource(store))).replaced == ("3.bin",)
    assert verify(tmp_path / "1").whole
    with pytest.raises(InputInvalidError):
        await repair(tmp_path / "nothing", StoreSource(store))


async def test_a_repair_that_was_killed_after_it_had_mended_leaves_nothing(world, tmp_path):
    store, manifest, _ = world
    await fetch(manifest, StoreSource(store), tmp_path / "1")
    for left in (".mending-1", ".partial-.mending-1~0123456789abcdef"):
        (tmp_path / left).mkdir()
    assert (await repair(tmp_path / "1", StoreSource(store))).replaced == ()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


async def test_a_repair_without_a_source_changes_nothing(world, tmp_path):
    store, manifest, _ = world
    await fetch(manifest, StoreSource(store), tmp_path / "1")
    (tmp_path / "1/files/3.bin").write_bytes(b"x" * len(FILES["3.bin"]))

    def away(_):
        raise StoreUnavailableError("away")

    with pytest.raises(StoreUnavailableError):
        await repair(tmp_path / "1", Wire(store, away))
    assert (tmp_path / "1/files/3.bin").read_bytes() == b"x" * len(FILES["3.bin"])
    await repair(tmp_path / "1", Wire(store))
    assert verify(tmp_path / "1").whole
