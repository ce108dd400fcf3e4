import asyncio

import pytest

from registry.catalog import Catalog
from registry.condemned import condemn, condemned_keys
from registry.errors import (
    ManifestInvalidError,
    ObjectMissingError,
    ReleaseConflictError,
    ReleaseUnknownError,
    StoreError,
)
from registry.fetch import StoreSource, fetch
from registry.garbage import Dated, superseded
from registry.layout import CONDEMNED, PACKS, REMOVED, manifest_key
from registry.publish import publish
from registry.removal import remove_release
from registry.store.memory import MemoryStore
from registry.sweep import sweep

DAY_S = 86_400.0


class Clock:
    def __init__(self):
        self.now_s = 1_000_000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(now_unix_s=clock)


@pytest.fixture
def put(tmp_path, store):
    """Publishes a release that has these parts."""

    def put(version, parts, channel=None, created_unix_s=5):
        place = tmp_path / f"source-{version}"
        place.mkdir(exist_ok=True)
        for part in parts:
            (place / part).write_bytes(part.encode() * 100)
        return publish(
            place, name="chat", version=version, store=store, channel=channel, created_unix_s=created_unix_s
        )

    return put


def packs(store):
    return {info.key for info in store.list(PACKS)}


def test_what_releases_need_stays_and_the_rest_goes_after_the_grace(store, clock, put):
    put("1", "abc")
    put("2", "abx")
    assert len(packs(store)) == 2
    remove_release(store, "chat", "2")
    clock.now_s += 6 * DAY_S
    assert sweep(store, grace_s=7 * DAY_S).removed_count == 0
    clock.now_s += 2 * DAY_S
    dry = sweep(store, grace_s=7 * DAY_S, dry_run=True)
    assert (dry.removed_count, len(packs(store))) == (1, 2)
    report = sweep(store, grace_s=7 * DAY_S)
    assert (report.removed_count, report.removed_bytes) == (1, dry.removed_bytes)
    assert (report.releases_count, len(packs(store))) == (1, 1)
    assert list(store.list(REMOVED)) == list(store.list(CONDEMNED)) == []
    assert sweep(store, grace_s=7 * DAY_S).removed_count == 0


def test_dead_bytes_inside_of_needed_packs_are_told(store, clock, put):
    put("1", "abc")
    put("2", "ax")
    remove_release(store, "chat", "1")
    clock.now_s += 8 * DAY_S
    report = sweep(store, grace_s=7 * DAY_S)
    assert report.removed_count == 0  # version 2 needs a chunk of the first pack
    assert report.unused_bytes > 0


def test_young_packs_and_strange_objects_stay(store, clock, put):
    store.put_if_absent("packs/notes.txt", b"mine")
    put("1", "abc")
    store.delete(manifest_key("chat", "1"))
    clock.now_s += DAY_S
    report = sweep(store, grace_s=7 * DAY_S)
    assert (report.removed_count, report.kept_young_count) == (0, 1)
    clock.now_s += 7 * DAY_S
    assert sweep(store, grace_s=7 * DAY_S).removed_count == 1
    assert packs(store) == {"packs/notes.txt"}


def test_nothing_goes_while_a_manifest_cannot_be_read(store, clock, put):
    put("1", "abc")
    store.put_if_absent(manifest_key("chat", "2"), b"EAF9 of the future")
    clock.now_s += 30 * DAY_S
    with pytest.raises(ManifestInvalidError):
        sweep(store, grace_s=0)
    assert len(packs(store)) == 1


def test_a_sweep_that_is_stopped_or_dies_is_run_again(store, clock, put, monkeypatch):
    for version in "123":
        put(version, version)
        store.delete(manifest_key("chat", version))
    clock.now_s += 30 * DAY_S
    asked = iter([False, False, False, True, True, True, True])
    report = sweep(store, grace_s=DAY_S, stop=lambda: next(asked))
    assert (report.stopped, report.removed_count) == (True, 2)
    assert list(store.list(CONDEMNED)) == []

    def dies(key):
        raise StoreError("away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", dies)
        with pytest.raises(StoreError, match="away"):
            sweep(store, grace_s=DAY_S)
    assert sweep(store, grace_s=DAY_S).removed_count == 1


def test_a_mark_that_a_dead_sweep_left_is_taken_away_after_an_hour(store, clock):
    condemn(store, ["packs/aa/1"], "left")
    sweep(store, grace_s=DAY_S)
    assert condemned_keys(store) == {"packs/aa/1"}
    clock.now_s += 3601
    sweep(store, grace_s=DAY_S)
    assert condemned_keys(store) == frozenset()


def test_a_mark_of_another_age_is_refused(store):
    store.put_if_absent("condemned/x", b"\x81\xa6schema\x02")
    with pytest.raises(StoreError, match="update Edgeward"):
        condemned_keys(store)


def test_a_release_that_lost_a_pack_is_mended_by_publishing_it_again(store, put, tmp_path):
    put("1", "abc", channel="stable")
    (pack,) = packs(store)
    store.delete(pack)
    with pytest.raises(ObjectMissingError):
        asyncio.run(fetch(store.get(manifest_key("chat", "1")).data, StoreSource(store), tmp_path / "1"))
    assert put("1", "abc").outcome == "unchanged"
    asyncio.run(fetch(store.get(manifest_key("chat", "1")).data, StoreSource(store), tmp_path / "1"))
    assert (tmp_path / "1/files/a").read_bytes() == b"a" * 100


def test_keep_last_never_takes_what_a_channel_points_at(store, clock, put):
    for number in range(5):
        put(str(number), str(number), channel="stable" if number == 1 else None, created_unix_s=number + 1)
    dry = sweep(store, grace_s=0, keep_last_count=2, dry_run=True)
    assert dry.removed_releases == ("chat@2", "chat@0")
    assert sweep(store, grace_s=DAY_S, keep_last_count=2).removed_releases == dry.removed_releases
    assert Catalog(store).versions("chat") == ("1", "3", "4")
    clock.now_s += 2 * DAY_S
    assert sweep(store, grace_s=DAY_S).removed_count == 2
    assert superseded([Dated("a", "1", 1)], {}, keep_last_count=1) == ()


def test_a_release_that_a_channel_points_at_is_not_removed(store, put):
    put("1", "a", channel="stable")
    with pytest.raises(ReleaseConflictError, match="chat:stable"):
        remove_release(store, "chat", "1")
    with pytest.raises(ReleaseUnknownError):
        remove_release(store, "chat", "2")


def test_a_release_that_is_promoted_while_it_is_removed_stays(store, put, monkeypatch):
    put("1", "a")
    delete = store.delete

    def promoted_first(key):
        Catalog(store).move_channel("chat", "stable", "1")
        delete(key)

    monkeypatch.setattr(store, "delete", promoted_first)
    with pytest.raises(ReleaseConflictError):
        remove_release(store, "chat", "1")
    assert Catalog(store).versions("chat") == ("1",)


def test_a_release_can_be_removed_twice(store, put):
    put("1", "a")
    remove_release(store, "chat", "1")
    put("1", "a")
    remove_release(store, "chat", "1")
    assert Catalog(store).releases() == ()
