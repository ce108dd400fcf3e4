"""Deltas that are too long for one object."""

import random

import pytest

from registry.catalog import Catalog
from registry.delta import Entry, Mode, place_in_parts
from registry.errors import ChunkMismatchError, ObjectMissingError
from registry.fetch import StoreSource, ask_delta, fetch
from registry.layout import DELTAS, PACKS, delta_key, is_delta_key, parse_delta_key
from registry.manifest import manifest_digest, part_of
from registry.publish import publish
from registry.sweep import sweep
from registry.update_cost import delta_cost


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch):
    monkeypatch.setattr("registry.delta.PART_LIMIT_BYTES", 8_000)


@pytest.fixture
def versions(gguf_bytes, store, tmp_path):
    """Publishes a model and a fine-tune of it, which changes a little of every tensor."""
    tensors = {f"blk.{number}.ffn": ((576, 500), 8, 306_000) for number in range(8)}
    chance = random.Random(4)
    data = bytearray(gguf_bytes(tensors=tensors))
    published = []
    for version in "12":
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        publish(path, name="m", version=version, store=store, created_unix_s=int(version))
        published.append(Catalog(store).manifest("m", version))
        for _ in range(8_000):
            data[-chance.randrange(1, 2_400_000)] ^= 1
    return published, path.read_bytes()


def keys(store):
    return [info.key for info in store.list(DELTAS)]


async def test_its_bodies_are_in_parts_and_the_update_needs_no_pack(versions, store, tmp_path):
    ((first, base), (second, new)), data = versions
    digests = manifest_digest(second), manifest_digest(first)
    assert keys(store) == [delta_key(*digests, part) for part in range(len(keys(store)))]
    assert len(keys(store)) > 3
    assert all(is_delta_key(key) and parse_delta_key(key) == digests for key in keys(store))
    await fetch(first, StoreSource(store), tmp_path / "1")
    delta = await ask_delta(StoreSource(store), digests[0], [tmp_path / "1"])
    for info in list(store.list(PACKS)):
        store.delete(info.key)
    report = await fetch(second, StoreSource(store), tmp_path / "2", local=[tmp_path / "1"], delta=delta)
    assert (tmp_path / "2/files/model.gguf").read_bytes() == data
    length = sum(info.length_bytes for info in store.list(DELTAS))
    assert report.fetched_bytes == length
    head = store.head(delta_key(*digests)).length_bytes

    def read(offset, length_bytes):
        return store.get_range(delta_key(*digests), offset, length_bytes)

    cost = delta_cost(first, second, part_of(base), part_of(new), head, read)
    assert cost == (length, report.requests_count) == (length, len(keys(store)))


async def test_a_part_that_is_missing_costs_its_packs_alone(versions, store, tmp_path):
    ((first, _), (second, _)), data = versions
    await fetch(first, StoreSource(store), tmp_path / "1")
    store.delete(keys(store)[2])
    delta = await ask_delta(StoreSource(store), manifest_digest(second), [tmp_path / "1"])
    report = await fetch(second, StoreSource(store), tmp_path / "2", local=[tmp_path / "1"], delta=delta)
    assert (tmp_path / "2/files/model.gguf").read_bytes() == data
    assert report.fetched_bytes < 1_000_000


def test_a_delta_that_does_not_pay_leaves_nothing(gguf_bytes, store, tmp_path, monkeypatch):
    monkeypatch.setattr("registry.publish.delta_writer._WORTH_KEEPING", 0.01)
    path = tmp_path / "model.gguf"
    tensors = {f"blk.{number}.ffn": ((576, 500), 8, 306_000) for number in range(8)}
    data = bytearray(gguf_bytes(tensors=tensors))
    for version in "12":
        path.write_bytes(data)
        assert publish(
            path, name="m", version=version, store=store, created_unix_s=int(version)
        ).deltas_bytes == 0  # fmt: skip
        chance = random.Random(4)
        for _ in range(20_000):
            data[-chance.randrange(1, 2_400_000)] ^= 1
    assert keys(store) == []


def test_garbage_collection_takes_all_parts(versions, store):
    Catalog(store).yank("m", "2")
    assert len(keys(store)) > 3
    sweep(store, grace_s=0)
    assert keys(store) == []


def test_the_length_says_where_bodies_lie():
    entries = [Entry(number, Mode.STORED, 0, 100 + 5_000 * number, 5_000) for number in range(3)]
    assert place_in_parts(entries, 100, 15_100) == entries
    parts = place_in_parts(entries, 100, 100)
    assert [(entry.part, entry.offset_bytes) for entry in parts] == [(1, 0), (2, 0), (3, 0)]
    with pytest.raises(ChunkMismatchError):
        place_in_parts(entries, 100, 15_099)


async def test_a_source_without_a_part_says_so(store):
    with pytest.raises(ObjectMissingError):
        await StoreSource(store).delta("0" * 64, "1" * 64 + ".1", 0, 10)
