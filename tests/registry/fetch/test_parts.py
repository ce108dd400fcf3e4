"""Some variants of a release on the disk, and others later."""

import asyncio

import pytest

from registry.catalog import Catalog
from registry.errors import InputInvalidError, ManifestInvalidError, StoreUnavailableError
from registry.fetch import StoreSource, ask_delta, fetch
from registry.fetch.board import Board, KnownPeer
from registry.fetch.neighbours import Neighbours
from registry.fetch.shelf import Shelf
from registry.fetch.turns import Share, rank
from registry.manifest import decode_manifest, manifest_digest, part_of
from registry.publish import VariantSource, publish
from registry.release_directory import HELD_NAME, read_held
from registry.repair import repair
from registry.verify import verify


@pytest.fixture
def release(tmp_path, store, gguf_bytes):
    """Publishes variants q4 and q8, which share the chunk of their tokens; returns the manifest's bytes."""

    def release(version="1", *, template="{{ messages }}"):
        sources = []
        for number, name in enumerate(("q4", "q8")):
            path = tmp_path / f"{name}.gguf"
            path.write_bytes(gguf_bytes(seed=number, template=template))
            sources.append(VariantSource(path=path, name=name))
        publish(sources, name="chat", version=version, store=store, created_unix_s=int(version))
        return Catalog(store).manifest("chat", version)[0]

    return release


def held_in(bitmap):
    """The numbers of the chunks that a bitmap names."""
    return {number for number in range(8 * len(bitmap)) if int.from_bytes(bitmap, "little") >> number & 1}


async def test_one_variant_costs_its_own_bytes_alone(release, store, tmp_path):
    data = release()
    target = tmp_path / "r" / "1"
    report = await fetch(data, StoreSource(store), target, variants=["q8"])
    manifest = decode_manifest(data)
    assert [path.name for path in (target / "files").rglob("*.gguf")] == ["q8.gguf"]
    assert (target / "files/q8/q8.gguf").read_bytes() == (tmp_path / "q8.gguf").read_bytes()
    assert report.total_bytes == manifest.variants[1].total_bytes
    assert report.fetched_bytes < 0.6 * manifest.stored_bytes
    found = verify(target)
    assert found.whole
    assert found.variants == ("q8",)
    assert (await fetch(data, StoreSource(store), target, variants=["q8"])).requests_count == 0


async def test_a_second_variant_is_added_later(release, store, tmp_path):
    data, target, shelf = release(), tmp_path / "r" / "1", Shelf()
    source, digest = StoreSource(store), manifest_digest(data)
    neighbours = Neighbours("me", tuple, shelf)
    await fetch(data, source, target, variants=["q8"], neighbours=neighbours)
    manifest = decode_manifest(data)
    held = part_of(manifest, ["q8"]).chunks
    bitmap = shelf.have(digest)
    assert held_in(bitmap) == held
    report = await fetch(data, source, target, variants=["q4"], neighbours=neighbours)
    assert report.reused_bytes > 0  # what both have
    assert not (target / HELD_NAME).exists()
    assert verify(target).whole
    assert verify(target).variants == ("q4", "q8")
    assert held_in(shelf.have(digest)) == set(range(len(manifest.chunks)))
    assert not list(target.parent.glob(".partial-*"))
    assert (await fetch(data, source, target)).requests_count == 0


async def test_a_crash_while_a_variant_is_added_loses_nothing(release, store, tmp_path, monkeypatch):
    data, target = release(), tmp_path / "r" / "1"
    await fetch(data, StoreSource(store), target, variants=["q8"])

    def crash(*_):
        raise OSError(5, "pulled the plug")

    monkeypatch.setattr("registry.release_directory.write_held", crash)
    with pytest.raises(OSError, match="plug"):
        await fetch(data, StoreSource(store), target, variants=["q4"])
    monkeypatch.undo()
    assert read_held(target, decode_manifest(data)).variants == ("q8",)
    assert verify(target).whole
    report = await fetch(data, StoreSource(store), target)
    assert (report.requests_count, report.fetched_bytes) == (0, 0)
    assert verify(target).variants == ("q4", "q8")


async def test_a_fetch_of_another_variant_clears_what_one_before_left(release, store, tmp_path):
    data, target = release(), tmp_path / "r" / "1"

    class Away(StoreSource):
        async def read_range(self, key, offset_bytes, length_bytes):
            raise StoreUnavailableError("away")

    with pytest.raises(StoreUnavailableError):
        await fetch(data, Away(store), target, variants=["q4"])
    await fetch(data, StoreSource(store), target, variants=["q8"])
    assert [path.name for path in (target / "files").rglob("*.gguf")] == ["q8.gguf"]


async def test_a_delta_brings_the_wanted_variant_alone(release, store, tmp_path):
    first = release()
    await fetch(first, StoreSource(store), tmp_path / "r" / "1", variants=["q4"])
    second = release("2", template="{{ other }}" * 10_000)
    local = [tmp_path / "r" / "1"]
    delta = await ask_delta(StoreSource(store), manifest_digest(second), local)
    report = await fetch(
        second, StoreSource(store), tmp_path / "r" / "2", variants=["q4"], local=local, delta=delta
    )
    assert report.fetched_bytes < 10_000
    assert verify(tmp_path / "r" / "2").whole
    # Of the other variant nothing is here that the delta could start from.
    other = await fetch(
        second, StoreSource(store), tmp_path / "r" / "2", variants=["q8"], local=local, delta=delta
    )
    assert other.fetched_bytes > 1_000_000
    assert verify(tmp_path / "r" / "2").variants == ("q4", "q8")


async def test_a_rotten_variant_is_mended_without_the_others(release, store, tmp_path):
    data, target = release(), tmp_path / "r" / "1"
    await fetch(data, StoreSource(store), target, variants=["q8"])
    place = target / "files/q8/q8.gguf"
    rotten = bytearray(place.read_bytes())
    rotten[-5] ^= 1
    place.write_bytes(rotten)
    report = await repair(target, StoreSource(store))
    assert report.replaced == ("q8/q8.gguf",)
    assert verify(target).whole
    assert verify(target).variants == ("q8",)


async def test_what_cannot_be_meant_is_refused(release, store, tmp_path):
    data, target = release(), tmp_path / "r" / "1"
    with pytest.raises(InputInvalidError, match=r"no variant 'q88'; did you mean q8\?"):
        await fetch(data, StoreSource(store), target, variants=["q88"])
    await fetch(data, StoreSource(store), target, variants=["q8"])
    (target / HELD_NAME).write_bytes(b'["q9"]')
    with pytest.raises(ManifestInvalidError, match="damaged"):
        verify(target)


def test_parts_are_sets_of_variants(release):
    manifest = decode_manifest(release())
    whole, first = part_of(manifest), part_of(manifest, ["q4"])
    assert whole.is_whole
    assert not first.is_whole
    assert (whole - first).variants == ("q8",)
    assert (first | part_of(manifest, ["q8"])).variants == whole.variants
    assert "q4" in first
    assert "q8" not in first
    assert whole.total_bytes == manifest.total_bytes


def test_it_is_never_the_turn_of_a_node_with_another_variant():
    share = Share("pack:0", (0,))
    other = next(name for name in map(str, range(100)) if rank("me", [name], share.key) == 1)
    board = Board("me", [share], patience_s=10.0, now_s=0.0)
    board.known[other] = known = KnownPeer(Named(other))
    assert board.next(origin_first=True, now_s=0.0) is None  # its turn
    known.meant = 0b10
    assert board.next(origin_first=True, now_s=0.0).own
    known.meant = 0b11
    assert board.next(origin_first=True, now_s=0.0) is None


class Named:
    def __init__(self, name):
        self.name = name


async def test_nodes_hear_from_each_other_which_variants_they_have(release, store, tmp_path):
    data, shelves, source = release(), {name: Shelf() for name in "abc"}, StoreSource(store)
    digest, sent = manifest_digest(data), []

    class Peer:
        def __init__(self, name):
            self.name, self.variants = name, None

        async def have(self, manifest):
            self.variants = frozenset(shelves[self.name].variants(manifest)) or None
            return shelves[self.name].have(manifest)

        async def chunk(self, digest, raw_bytes):
            raw = shelves[self.name].read(digest)
            if raw is None:
                raise StoreUnavailableError("not here")
            sent.append(raw)
            return raw

    async def pull(name, variant):
        peers = tuple(Peer(other) for other in shelves)
        near = Neighbours(name, lambda: peers, shelves[name], 20.0)
        return await fetch(data, source, tmp_path / name / "1", variants=[variant], neighbours=near)

    async with asyncio.timeout(15):  # nobody waits out a patience of 20 s for what will never come
        reports = await asyncio.gather(pull("a", "q4"), pull("b", "q8"), pull("c", "q8"))
    assert [verify(tmp_path / name / "1").variants for name in "abc"] == [("q4",), ("q8",), ("q8",)]
    assert shelves["a"].variants(digest) == ("q4",)
    assert sum(report.peer_bytes for report in reports) == sum(map(len, sent)) > 1_000_000
