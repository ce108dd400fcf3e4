"""From publish to fetch through a delta, and everything that may be wrong with one."""

import random

import pytest

from registry.catalog import Catalog
from registry.errors import ObjectMissingError, StoreUnavailableError
from registry.fetch import StoreSource, ask_delta, fetch
from registry.layout import DELTAS
from registry.manifest import manifest_digest
from registry.publish import publish


class Watched(StoreSource):
    def __init__(self, store):
        super().__init__(store)
        self.asked = []

    async def read_range(self, key, offset_bytes, length_bytes):
        self.asked.append(key)
        return await super().read_range(key, offset_bytes, length_bytes)


@pytest.fixture
def versions(gguf_bytes, store, tmp_path):
    """Two versions of a model in the store, the first one's manifest and the second one's, and their files."""
    first = gguf_bytes(seed=1)
    second = bytearray(gguf_bytes(seed=1, template="{{ messages }} edited"))
    chance = random.Random(4)
    for _ in range(200):
        second[-chance.randrange(1, 4_000_000)] ^= 1
    manifests = []
    for version, data in (("1", first), ("2", bytes(second))):
        (tmp_path / "model.gguf").write_bytes(data)
        publish(tmp_path / "model.gguf", name="m", version=version, store=store, created_unix_s=int(version))
        manifests.append(Catalog(store).manifest("m", version)[0])
    return manifests, bytes(second)


async def _update(store, tmp_path, manifests):
    await fetch(manifests[0], StoreSource(store), tmp_path / "1")
    source = Watched(store)
    delta = await ask_delta(source, manifest_digest(manifests[1]), [tmp_path / "1"])
    assert delta is not None
    return source, delta


async def _finish(tmp_path, source, delta, versions):
    report = await fetch(delta.manifest_bytes, source, tmp_path / "2", local=[tmp_path / "1"], delta=delta)
    assert (tmp_path / "2/files/model.gguf").read_bytes() == versions[1]
    return report


async def test_an_update_is_one_small_request(versions, store, tmp_path):
    source, delta = await _update(store, tmp_path, versions[0])
    report = await _finish(tmp_path, source, delta, versions)
    assert (report.requests_count, source.asked) == (1, [])
    assert report.fetched_bytes < 5_000


async def test_a_delta_of_several_ranges(versions, store, tmp_path, monkeypatch):
    monkeypatch.setattr("registry.delta.RANGE_LIMIT_BYTES", 40)
    source, delta = await _update(store, tmp_path, versions[0])
    report = await _finish(tmp_path, source, delta, versions)
    assert source.asked == []
    assert report.requests_count >= 3


async def test_bodies_that_are_damaged_come_from_packs(versions, store, tmp_path):
    (key,) = [info.key for info in store.list(DELTAS)]
    data = bytearray(store.get(key).data)
    data[-40] ^= 1
    store.delete(key)
    store.put_if_absent(key, bytes(data))
    source, delta = await _update(store, tmp_path, versions[0])
    await _finish(tmp_path, source, delta, versions)
    assert len(source.asked) >= 1


async def test_an_installed_chunk_that_has_rotted_comes_from_packs(versions, store, tmp_path):
    source, delta = await _update(store, tmp_path, versions[0])
    file = tmp_path / "1/files/model.gguf"
    data = bytearray(file.read_bytes())
    data[-2_000_000] ^= 1
    file.write_bytes(data)
    await _finish(tmp_path, source, delta, versions)
    assert len(source.asked) >= 1


async def test_without_a_delta_there_is_none(versions, store, tmp_path):
    await fetch(versions[0][0], StoreSource(store), tmp_path / "1")
    for info in list(store.list(DELTAS)):
        store.delete(info.key)
    wanted = manifest_digest(versions[0][1])
    assert await ask_delta(StoreSource(store), wanted, [tmp_path / "1", tmp_path / "none"]) is None
    assert await ask_delta(object(), wanted, [tmp_path / "1"]) is None


@pytest.mark.parametrize("start", [b"", b"EAD1", b"EAD1\x05\0\0\0hello", b"EAD1\xff\xff\xff\xff"])
async def test_what_is_no_delta_is_passed_over(versions, store, tmp_path, start):
    class Wrong(StoreSource):
        async def delta(self, new, base, offset_bytes, limit_bytes):
            return start[offset_bytes : offset_bytes + limit_bytes], len(start)

    await fetch(versions[0][0], StoreSource(store), tmp_path / "1")
    wanted = manifest_digest(versions[0][1])
    assert await ask_delta(Wrong(store), wanted, [tmp_path / "1"]) is None


async def test_a_source_that_goes_away_in_the_middle_of_a_delta(versions, store, tmp_path, monkeypatch):
    monkeypatch.setattr("registry.delta.RANGE_LIMIT_BYTES", 40)
    source, delta = await _update(store, tmp_path, versions[0])

    async def gone(*_):
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(source, "delta", gone)
    await _finish(tmp_path, source, delta, versions)
    assert len(source.asked) >= 1


def test_a_change_of_everything_gets_no_delta(gguf_bytes, store, tmp_path):
    for version in "12":
        (tmp_path / "model.gguf").write_bytes(gguf_bytes(seed=int(version)))
        publish(tmp_path / "model.gguf", name="m", version=version, store=store, created_unix_s=0)
    assert list(store.list(DELTAS)) == []


def test_the_last_three_and_the_parent_get_deltas(gguf_bytes, store, tmp_path):
    def put(name, version, template, parent=None):
        (tmp_path / "model.gguf").write_bytes(gguf_bytes(template=template))
        publish(
            tmp_path / "model.gguf", name=name, version=version, store=store,
            created_unix_s=int(version), parent=parent,
        )  # fmt: skip

    put("other", "1", "parent")
    for version in "12345":
        put("m", version, f"version {version}")
    before = {info.key for info in store.list(DELTAS)}
    put("m", "6", "version 6", parent="other@1")
    assert len({info.key for info in store.list(DELTAS)} - before) == 4
    with pytest.raises(Exception, match="no model"):
        put("m", "7", "version 7", parent="nobody@1")


async def test_a_delta_that_is_not_there_says_so(store):
    with pytest.raises(ObjectMissingError):
        await StoreSource(store).delta("0" * 64, "1" * 64, 0, 10)
