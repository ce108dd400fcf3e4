import asyncio
from dataclasses import replace

import pytest

from registry.catalog import Catalog
from registry.condemned import condemn, condemned_keys
from registry.digest import digest_of
from registry.errors import (
    KeyUnusableError,
    ManifestInvalidError,
    ObjectMissingError,
    StoreError,
    TrustMissingError,
    TrustTamperedError,
)
from registry.fetch import StoreSource, fetch
from registry.garbage import Dated, superseded
from registry.layout import (
    CONDEMNED,
    DELTAS,
    MANIFESTS,
    PACKS,
    PROBES,
    TRUST,
    delta_key,
    manifest_key,
    pack_key,
    probe_key,
)
from registry.publish import publish
from registry.store.memory import MemoryStore
from registry.sweep import sweep
from registry.trust.in_memory import signed_in_memory
from registry.trust.signed_store import SignedStore
from registry.trust.statements import statement_of

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
    return signed_in_memory(MemoryStore(now_unix_s=clock))


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


@pytest.fixture
def abandon(put, store, monkeypatch):
    """A publish that dies before it signs."""

    def abandon(version, parts):
        def dies(*_, **__):
            raise StoreError("died")

        with monkeypatch.context() as patch:
            patch.setattr(Catalog, "add", dies)
            with pytest.raises(StoreError, match="died"):
                put(version, parts)

    return abandon


def packs(store):
    return {info.key for info in store.list(PACKS)}


def manifests(store):
    return [info.key for info in store.list(MANIFESTS)]


def manifest(store, version):
    return Catalog(store).manifest("chat", version)[0]


def test_what_releases_need_stays_and_the_rest_goes_after_the_grace(store, clock, put):
    put("1", "abc")
    put("2", "abx")
    assert len(packs(store)) == 2
    Catalog(store).yank("chat", "2")
    clock.now_s += 6 * DAY_S
    assert sweep(store, grace_s=7 * DAY_S).removed_count == 0
    clock.now_s += 2 * DAY_S
    dry = sweep(store, grace_s=7 * DAY_S, dry_run=True)
    assert (dry.removed_count, len(packs(store))) == (3, 2)  # a manifest, a delta and a pack
    report = sweep(store, grace_s=7 * DAY_S)
    assert (report.removed_count, report.removed_bytes) == (3, dry.removed_bytes)
    assert (report.releases_count, len(packs(store))) == (1, 1)
    assert (len(manifests(store)), list(store.list(CONDEMNED))) == (1, [])
    assert sweep(store, grace_s=7 * DAY_S).removed_count == 0


def test_dead_bytes_inside_of_needed_packs_are_told(store, clock, put):
    put("1", "abc")
    put("2", "ax")
    Catalog(store).yank("chat", "1")
    clock.now_s += 8 * DAY_S
    report = sweep(store, grace_s=7 * DAY_S)
    assert report.removed_count == 1  # the manifest: version 2 needs a chunk of the first pack
    assert report.unused_bytes > 0


def test_what_nobody_signed_stays_for_the_grace_and_a_day_at_least(store, clock, put, abandon):
    store.put_if_absent("packs/notes.txt", b"mine")
    put("1", "abc")
    abandon("2", "xyz")
    clock.now_s += 0.9 * DAY_S
    assert sweep(store, grace_s=0).removed_count == 0
    clock.now_s += 0.2 * DAY_S
    assert sweep(store, grace_s=7 * DAY_S).removed_count == 0
    assert sweep(store, grace_s=0).removed_count == 3
    assert (len(packs(store)), len(manifests(store))) == (2, 1)
    assert "packs/notes.txt" in packs(store)


def test_packs_without_a_manifest_stay_while_they_are_young(store, clock, put, abandon):
    put("1", "abc")
    abandon("2", "xyz")
    (orphan,) = set(manifests(store)) - {manifest_key("chat", "1", statement_of(manifest(store, "1")).sha256)}
    store.delete(orphan)
    clock.now_s += DAY_S
    report = sweep(store, grace_s=7 * DAY_S)
    assert (report.removed_count, report.kept_young_count) == (0, 2)  # a delta, too
    clock.now_s += 7 * DAY_S
    assert sweep(store, grace_s=7 * DAY_S).removed_count == 2


def test_a_manifest_that_a_dead_publish_left_is_young_again_when_it_is_published(store, clock, put, abandon):
    put("1", "abc")
    abandon("2", "xyz")
    clock.now_s += 30 * DAY_S
    before = manifests(store)
    assert put("2", "xyz").outcome == "published"
    assert manifests(store) == before
    assert sweep(store, grace_s=7 * DAY_S).removed_count == 0
    abandoned = {info.key: info.modified_unix_s for info in store.list(MANIFESTS)}
    assert sorted(abandoned.values()) == [1_000_000.0, clock.now_s]


def test_deltas_go_with_the_release_that_they_make(store, clock, put):
    digest, other = digest_of(b"never published"), digest_of(b"base")
    put("1", "abc")
    live = delta_key(statement_of(manifest(store, "1")).sha256, other)
    for key in (live, delta_key(digest, other)):
        store.put_if_absent(key, b"delta")
    assert sweep(store, grace_s=DAY_S).kept_young_count == 1
    clock.now_s += 2 * DAY_S
    assert sweep(store, grace_s=DAY_S).removed_count == 1
    assert [info.key for info in store.list(DELTAS)] == [live]


def test_what_is_signed_is_never_swept(store, clock, put):
    put("1", "abc")
    Catalog(store).yank("chat", "1")
    before = {info.key for info in store.list(TRUST)}
    clock.now_s += 365 * DAY_S
    sweep(store, grace_s=0)
    assert {info.key for info in store.list(TRUST)} == before
    assert packs(store) == set()


def test_nothing_goes_while_a_manifest_cannot_be_read(store, clock, put):
    put("1", "abc")
    store.put_if_absent(manifest_key("chat", "2", digest_of(b"?")), b"EAF9 of the future")
    store.put_if_absent(pack_key(digest_of(b"?")), b"x")
    with pytest.raises(ManifestInvalidError):
        sweep(store, grace_s=0)
    assert len(packs(store)) == 2
    clock.now_s += 30 * DAY_S  # nobody will sign that any more
    assert sweep(store, grace_s=DAY_S).removed_count == 2


def test_nothing_goes_while_it_is_not_known_what_is_signed(store, clock, put, monkeypatch):
    store.put_if_absent(pack_key(digest_of(b"?")), b"x")
    clock.now_s += 30 * DAY_S
    with pytest.raises(TrustMissingError, match="nothing is signed"):
        sweep(store, grace_s=0)
    put("1", "abc")
    (key,) = manifests(store)
    data = store.get(key).data
    store.delete(key)
    with pytest.raises(TrustMissingError, match="nobody knows"):
        sweep(store, grace_s=0)
    store.put_if_absent(key, data)
    verified = store.reader.read()[0]
    refused = replace(verified, problems={"models": TrustTamperedError("not theirs")}, contents={})
    monkeypatch.setattr(store.reader, "read", lambda: (refused, None))
    with pytest.raises(TrustTamperedError):
        sweep(store, grace_s=0)
    assert len(packs(store)) == 2


def test_a_sweep_that_is_stopped_or_dies_is_run_again(store, clock, put, monkeypatch):
    for version in "123":
        put(version, version)
        Catalog(store).yank("chat", version)
    for key in manifests(store):
        store.delete(key)
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


def test_a_mark_that_a_dead_sweep_left_is_taken_away_after_an_hour(store, clock, put):
    put("1", "abc")
    condemn(store, ["packs/aa/1"], "left")
    sweep(store, grace_s=DAY_S)
    assert condemned_keys(store) == {"packs/aa/1"}
    clock.now_s += 3601
    sweep(store, grace_s=DAY_S)
    assert condemned_keys(store) == frozenset()


def test_a_probe_that_a_kill_left_is_taken_away_after_an_hour(store, clock, put):
    put("1", "abc")
    store.put_if_absent(probe_key("left"), b"what time is it?")
    sweep(store, grace_s=0)
    assert [info.key for info in store.list(PROBES)] == [probe_key("left")]
    clock.now_s += 3601
    sweep(store, grace_s=0, dry_run=True)
    assert list(store.list(PROBES))
    sweep(store, grace_s=0)
    assert list(store.list(PROBES)) == []


def test_a_mark_of_another_age_is_refused(store):
    store.put_if_absent("condemned/x", b"\x81\xa6schema\x02")
    with pytest.raises(StoreError, match="update Edgeward"):
        condemned_keys(store)


def test_a_release_that_lost_a_pack_is_mended_by_publishing_it_again(store, put, tmp_path):
    put("1", "abc", channel="stable")
    (pack,) = packs(store)
    store.delete(pack)
    with pytest.raises(ObjectMissingError):
        asyncio.run(fetch(manifest(store, "1"), StoreSource(store), tmp_path / "1"))
    assert put("1", "abc").outcome == "unchanged"
    asyncio.run(fetch(manifest(store, "1"), StoreSource(store), tmp_path / "1"))
    assert (tmp_path / "1/files/a").read_bytes() == b"a" * 100


def test_keep_last_never_takes_what_a_channel_points_at(store, clock, put):
    for number in range(5):
        put(str(number), str(number), channel="stable" if number == 1 else None, created_unix_s=number + 1)
    dry = sweep(store, grace_s=0, keep_last_count=2, dry_run=True)
    assert dry.withdrawn_releases == ("chat@2", "chat@0")
    assert sweep(store, grace_s=DAY_S, keep_last_count=2).withdrawn_releases == dry.withdrawn_releases
    assert Catalog(store).versions("chat") == ("1", "3", "4")
    clock.now_s += 2 * DAY_S
    assert sweep(store, grace_s=DAY_S).removed_count == 6  # of each the manifest and the pack, and two deltas
    assert superseded([Dated("a", "1", 1)], {}, keep_last_count=1) == ()


def test_keep_last_never_takes_what_a_rollback_would_go_to(store, put):
    for number in range(6):
        put(
            str(number),
            str(number),
            channel="stable" if number in {0, 1, 2} else None,
            created_unix_s=number + 1,
        )
    # stable points at 2, a rollback goes to 1, and 0 is past that.
    assert sweep(store, grace_s=DAY_S, keep_last_count=1).withdrawn_releases == ("chat@4", "chat@3", "chat@0")
    assert Catalog(store).roll_back("chat", "stable") == "1"
    assert sweep(store, grace_s=DAY_S, keep_last_count=1).withdrawn_releases == ()
    assert Catalog(store).roll_back("chat", "stable") == "2"


def test_keep_last_passes_over_withdrawn_releases_as_a_rollback_does(store, put):
    for number in range(4):
        put(str(number), str(number), channel="stable", created_unix_s=number + 1)
    Catalog(store).yank("chat", "2")
    assert sweep(store, grace_s=DAY_S, keep_last_count=1).withdrawn_releases == ("chat@0",)
    assert Catalog(store).roll_back("chat", "stable") == "1"


def test_a_release_that_is_promoted_while_it_is_withdrawn_by_the_rule_stays(store, put, monkeypatch):
    put("1", "a", created_unix_s=1)
    put("2", "b", created_unix_s=2)
    said = Catalog.within_reach

    def promoted_then(catalog):
        before = said(catalog)
        Catalog(store).move_channel("chat", "stable", "1")
        return before

    monkeypatch.setattr(Catalog, "within_reach", promoted_then)
    assert sweep(store, grace_s=0, keep_last_count=1).withdrawn_releases == ()
    assert Catalog(store).channels("chat") == {"stable": "1"}


def test_the_grace_of_a_release_begins_when_it_is_withdrawn(store, clock, put):
    put("1", "a")
    clock.now_s += 30 * DAY_S
    Catalog(store).yank("chat", "1")
    assert sweep(store, grace_s=DAY_S).removed_count == 0
    clock.now_s += 2 * DAY_S
    assert sweep(store, grace_s=DAY_S).removed_count == 2


def test_a_collection_needs_no_keys_but_to_withdraw(store, clock, put):
    put("1", "a", created_unix_s=1)
    put("2", "b", created_unix_s=2)
    reading = SignedStore(store.reader)
    assert sweep(reading, grace_s=0).removed_count == 0
    with pytest.raises(KeyUnusableError):
        sweep(reading, grace_s=0, keep_last_count=1)
