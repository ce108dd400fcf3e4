import asyncio
import random
import time

import pytest

from registry.catalog import Catalog
from registry.errors import (
    ChunkMismatchError,
    ConfigError,
    ReleaseConflictError,
    ReleaseUnknownError,
    StoreError,
    TrustMissingError,
    TrustRollbackError,
)
from registry.fetch import StoreSource, fetch
from registry.layout import DELTAS, MANIFESTS, PACKS, TRUST
from registry.mirror import mirror
from registry.publish import publish
from registry.store.config import StoreConfig
from registry.store.directory import DirectoryStore
from registry.store.memory import MemoryStore
from registry.store.opening import open_store
from registry.sweep import sweep
from registry.trust.in_memory import signed_in_memory
from registry.trust.kept import KeptInMemory
from registry.trust.reader import StoreReader
from registry.trust.signed_store import SignedStore

DATA = (PACKS, MANIFESTS, DELTAS)


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


def read(store, origin):
    """A store, read by someone who trusts the root that the origin was signed with."""
    return SignedStore(StoreReader(store, origin.reader.pin, KeptInMemory(), now_unix_s=time.time))


def keys(store, *prefixes):
    return [info.key for prefix in prefixes for info in store.list(prefix)]


def test_a_mirror_has_all_that_a_pull_needs(tmp_path, store, target, put):
    put("chat", "1", "a")
    put("chat", "2", "b")
    put("team/embed", "1", "c")
    first = mirror(store, target)
    assert (first.releases_count, first.copied_packs_count) == (3, 3)
    again = mirror(store, target)
    assert (again.copied_bytes, again.signed_files_count) == (0, 0)
    assert keys(target, *DATA) == keys(store, *DATA)
    copy = read(target, store)
    assert Catalog(copy).resolve("chat") == ("chat", "2")
    data, _ = Catalog(copy).manifest("team/embed", "1")
    asyncio.run(fetch(data, StoreSource(target), tmp_path / "pulled"))
    back = MemoryStore()
    assert mirror(copy, back).releases_count == 3
    assert keys(back, *DATA) == keys(store, *DATA)


def test_what_changed_in_the_source_is_followed_and_never_taken_back(store, target, put):
    put("chat", "1", "a")
    mirror(store, target)
    old = MemoryStore()
    mirror(store, old)
    put("chat", "2", "b")
    Catalog(store).yank("chat", "1")
    store.publisher.rotate("online")
    report = mirror(store, target)
    assert (report.releases_count, report.copied_packs_count) == (1, 1)
    copy = read(target, store)
    assert Catalog(copy).releases() == Catalog(store).releases()
    before = {key: target.get(key).data for key in keys(target, TRUST)}
    with pytest.raises(TrustRollbackError):
        mirror(read(old, store), target)
    assert {key: target.get(key).data for key in keys(target, TRUST)} == before


def test_deltas_are_copied(tmp_path, store, target):
    for version, salt in (("1", b"a"), ("2", b"b")):
        place = tmp_path / "chat.bin"
        place.write_bytes(random.Random(5).randbytes(200_000) + salt)
        publish(place, name="chat", version=version, store=store, created_unix_s=int(version))
    mirror(store, target)
    assert keys(store, DELTAS)
    assert keys(target, DELTAS) == keys(store, DELTAS)


def test_a_collection_in_the_copy_keeps_what_is_signed(store, target, put):
    put("chat", "1", "a")
    mirror(store, target)
    assert sweep(read(target, store), grace_s=0).removed_count == 0


def test_a_part_is_copied_by_name(store, target, put):
    put("chat", "1", "a")
    put("chat", "2", "b")
    put("embed", "1", "c")
    mirror(store, target, references=["chat@1"])
    (key,) = keys(target, MANIFESTS)
    assert key.startswith("manifests/chat/1.")
    mirror(store, target, references=["embed"])
    copy = Catalog(read(target, store))
    assert copy.manifest("embed", "1")[1].name == "embed"
    with pytest.raises(TrustMissingError, match="chat@2 is signed, and its manifest is not in the store"):
        copy.manifest("chat", "2")
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


def test_a_store_that_others_publish_into_is_left_alone(store, target, put):
    put("chat", "1", "a")
    put("chat", "2", "b")
    other = signed_in_memory(target)
    put("chat", "1", "other", other)
    before = keys(target, TRUST)
    with pytest.raises(ReleaseConflictError):
        mirror(store, target)
    assert keys(target, TRUST) == before
    assert Catalog(other).manifest("chat", "1")


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
    assert keys(target, MANIFESTS, TRUST) == []
    assert mirror(store, target).copied_packs_count > 0
    assert keys(target, *DATA) == keys(store, *DATA)


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
