"""What every ObjectStore promises, tried on each implementation."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.errors import ObjectMissingError, PreconditionFailedError, StoreError
from registry.store.directory import DirectoryStore
from registry.store.memory import MemoryStore
from registry.store.probing import probe_conditional_writes
from registry.store.retrying import RetryingStore

NOBODY = "packs/00/none"


@pytest.fixture(params=["memory", "retrying", "directory", pytest.param("s3", marks=pytest.mark.system)])
def store(request, tmp_path):
    if request.param == "directory":
        return DirectoryStore(tmp_path)
    if request.param == "s3":
        from registry.store.s3 import open_s3

        return open_s3(request.getfixturevalue("s3_store_config"))
    return MemoryStore() if request.param == "memory" else RetryingStore(MemoryStore())


@pytest.fixture
def prefix(request):
    """Keys of this test alone: the S3 server is shared by all."""
    return f"probes/{request.node.name.replace('[', '-').replace(']', '')}/"


def test_a_written_object_reads_back(store, prefix):
    assert store.put_if_absent(prefix + "a", b"some bytes")
    assert store.get(prefix + "a").data == b"some bytes"
    info = store.head(prefix + "a")
    assert (info.key, info.length_bytes, info.etag) == (prefix + "a", 10, store.get(prefix + "a").etag)


def test_an_empty_object_is_an_object(store, prefix):
    assert store.put_if_absent(prefix + "empty", b"")
    assert store.get(prefix + "empty").data == b""


def test_an_object_is_written_once(store, prefix):
    assert store.put_if_absent(prefix + "a", b"first")
    assert not store.put_if_absent(prefix + "a", b"second")
    assert store.get(prefix + "a").data == b"first"


def test_ranges_are_exact(store, prefix):
    store.put_if_absent(prefix + "a", bytes(range(100)))
    assert store.get_range(prefix + "a", 0, 100) == bytes(range(100))
    assert store.get_range(prefix + "a", 7, 1) == bytes([7])
    assert store.get_range(prefix + "a", 90, 10) == bytes(range(90, 100))


@pytest.mark.parametrize(("offset", "length"), [(95, 6), (100, 1), (500, 1), (-1, 5), (0, 0)])
def test_a_range_that_is_not_all_there_is_an_error(store, prefix, offset, length):
    store.put_if_absent(prefix + "a", bytes(100))
    with pytest.raises(StoreError):
        store.get_range(prefix + "a", offset, length)


def test_a_missing_object_is_said_to_be_missing(store):
    assert store.head(NOBODY) is None
    with pytest.raises(ObjectMissingError, match=NOBODY):
        store.get(NOBODY)
    with pytest.raises(ObjectMissingError, match=NOBODY):
        store.get_range(NOBODY, 0, 1)
    store.delete(NOBODY)


def test_replacing_needs_the_latest_etag(store, prefix):
    key = prefix + "a"
    first = store.put_if_match(key, b"one", None)
    with pytest.raises(PreconditionFailedError):
        store.put_if_match(key, b"two", None)
    second = store.put_if_match(key, b"two", first)
    assert second != first
    with pytest.raises(PreconditionFailedError):
        store.put_if_match(key, b"three", first)
    stored = store.get(key)
    assert (stored.data, stored.etag) == (b"two", second)


def test_replacing_what_is_gone_fails(store, prefix):
    etag = store.put_if_match(prefix + "a", b"one", None)
    store.delete(prefix + "a")
    with pytest.raises(PreconditionFailedError):
        store.put_if_match(prefix + "a", b"two", etag)


def test_a_listing_is_by_key_and_under_its_prefix(store, prefix):
    keys = [prefix + key for key in ("b/2", "a/1", "a.b/1", "a-b/1", "b/10")]
    for key in keys:
        store.put_if_absent(key, key.encode())
    assert [info.key for info in store.list(prefix)] == sorted(keys)
    assert [info.key for info in store.list(prefix + "b/1")] == [prefix + "b/10"]
    assert list(store.list(prefix + "nothing/")) == []
    first = next(iter(store.list(prefix)))
    assert (first.length_bytes, first.etag) == (len(first.key), store.get(first.key).etag)


def test_it_is_known_when_an_object_was_written(store, prefix):
    etag = store.put_if_match(prefix + "a", b"x", None)
    first = store.head(prefix + "a").modified_unix_s
    assert 0 <= time.time() - first < 600
    assert [info.modified_unix_s for info in store.list(prefix)] == [first]
    store.put_if_match(prefix + "a", b"y", etag)
    assert store.head(prefix + "a").modified_unix_s >= first


def test_deleted_means_gone(store, prefix):
    store.put_if_absent(prefix + "a", b"x")
    store.delete(prefix + "a")
    store.delete(prefix + "a")
    assert store.head(prefix + "a") is None
    assert store.put_if_absent(prefix + "a", b"y")


def test_of_many_writers_one_wins(store, prefix):
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda number: store.put_if_absent(prefix + "a", bytes([number])), range(8)))
    assert won.count(True) == 1
    assert store.get(prefix + "a").data == bytes([won.index(True)])


def test_of_many_replacements_of_one_etag_one_wins(store, prefix):
    etag = store.put_if_match(prefix + "a", b"start", None)

    def replace(number):
        try:
            store.put_if_match(prefix + "a", bytes([number]), etag)
        except PreconditionFailedError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(replace, range(8)))
    assert won.count(True) == 1
    assert store.get(prefix + "a").data == bytes([won.index(True)])


def test_conditional_writes_pass_the_probe(store):
    probe_conditional_writes(store)
