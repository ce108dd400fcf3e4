import asyncio

import pytest

from registry.catalog import Catalog
from registry.errors import (
    ChunkMismatchError,
    ConfigError,
    ReleaseConflictError,
    ReleaseUnknownError,
    StoreError,
)
from registry.fetch import StoreSource, fetch
from registry.layout import MANIFESTS, PACKS
from registry.mirror import mirror
from registry.publish import publish
from registry.store.config import StoreConfig
from registry.store.directory import DirectoryStore
from registry.store.memory import MemoryStore
from registry.store.opening import open_store


@pytest.fixture
def put(tmp_path, store):
    def put(name, version, text, into=store):
        place = tmp_path / f"{name.replace('/', '~')}-{version}.bin"
        place.write_bytes(text.encode() * 1000)
        publish(place, name=name, version=version, store=into, created_unix_s=5)

    return put


@pytest.fixture
def target(tmp_path):
    (tmp_path / "mirror").mkdir()
    return DirectoryStore(tmp_path / "mirror")


def keys(store, *prefixes):
    return [info.key for prefix in prefixes for info in store.list(prefix)]


def test_a_mirror_has_all_that_a_pull_needs(tmp_path, store, target, put):
    put("chat", "1", "a")
    put("chat", "2", "b")
    put("team/embed", "1", "c")
    first = mirror(store, target)
    assert (first.releases_count, first.copied_packs_count, first.channels_count) == (3, 3, 2)
    again = mirror(store, target)
    assert (again.copied_bytes, again.channels_count) == (0, 0)
    assert keys(target, PACKS, MANIFESTS) == keys(store, PACKS, MANIFESTS)
    assert Catalog(target).resolve("chat") == ("chat", "2")
    data, _ = Catalog(target).manifest("team/embed", "1")
    asyncio.run(fetch(data, StoreSource(target), tmp_path / "pulled"))
    back = MemoryStore()
    assert mirror(target, back).releases_count == 3
    assert keys(back, PACKS, MANIFESTS) == keys(store, PACKS, MANIFESTS)


def test_a_part_is_copied_by_name(store, target, put):
    put("chat", "1", "a")
    put("chat", "2", "b")
    put("embed", "1", "c")
    mirror(store, target, references=["chat@1"])
    assert keys(target, MANIFESTS) == ["manifests/chat/1.eaf"]
    assert Catalog(target).channels("chat") == {}  # `stable` points at a release that is not here
    mirror(store, target, references=["embed"])
    assert Catalog(target).channels("embed") == {"stable": "1"}
    with pytest.raises(ReleaseUnknownError, match="nothing"):
        mirror(store, target, references=["nothing"])


def test_damage_on_either_side_is_found(store, target, put):
    put("chat", "1", "a")
    mirror(store, target)
    (key,) = keys(store, PACKS)
    good = store.get(key)
    target.put_if_match(key, good.data[:-1] + b"X", target.get(key).etag)
    assert mirror(store, target).copied_bytes == 0
    assert mirror(store, target, check_present=True).copied_packs_count == 1
    assert target.get(key).data == good.data
    store.put_if_match(key, good.data[:-1] + b"X", good.etag)
    with pytest.raises(ChunkMismatchError, match="publish again"):
        mirror(store, MemoryStore())


def test_another_release_under_the_same_name_is_a_conflict(store, target, put):
    put("chat", "1", "a")
    put("chat", "1", "other", target)
    with pytest.raises(ReleaseConflictError):
        mirror(store, target)


def test_a_mirror_that_was_cut_off_goes_on(store, target, put, monkeypatch):
    for version in "123":
        put("chat", version, version)
    with monkeypatch.context() as patch:
        last = keys(store, PACKS)[-1]

        def dies(key, data):
            if key == last:
                raise StoreError("away")
            return DirectoryStore.put_if_absent(target, key, data)

        patch.setattr(target, "put_if_absent", dies)
        with pytest.raises(StoreError, match="away"):
            mirror(store, target)
    assert keys(target, MANIFESTS) == []
    assert mirror(store, target).copied_packs_count > 0
    assert keys(target, PACKS, MANIFESTS) == keys(store, PACKS, MANIFESTS)


def test_a_directory_is_opened_by_its_url(tmp_path):
    place = tmp_path / "a b"
    place.mkdir()
    assert open_store(StoreConfig(endpoint=f"file://{tmp_path}/a%20b")).put_if_absent("packs/x", b"1")
    assert (place / "packs/x").read_bytes() == b"1"
    for wrong in ("file://host/path", "file:///no/such/place", "file://"):
        with pytest.raises(ConfigError):
            open_store(StoreConfig(endpoint=wrong))


@pytest.mark.parametrize(
    "key", ["", "../x", "a//b", "/etc/passwd", "a/../../b", ".lock", "a/.hidden", "a\0b"]
)
def test_keys_stay_in_the_directory(target, key):
    with pytest.raises(StoreError):
        target.put_if_absent(key, b"x")
