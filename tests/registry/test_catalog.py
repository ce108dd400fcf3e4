import pytest

from registry.catalog import Catalog, ReleaseId
from registry.errors import (
    InputInvalidError,
    KeyUnusableError,
    ManifestInvalidError,
    ReleaseConflictError,
    ReleaseUnknownError,
    ReleaseYankedError,
    StoreError,
    TrustMissingError,
    TrustTamperedError,
)
from registry.layout import manifest_key
from registry.manifest import encode_manifest
from registry.publish import publish
from registry.store.memory import MemoryStore
from registry.trust.in_memory import signed_in_memory
from registry.trust.signed_store import SignedStore
from registry.trust.statements import statement_of


@pytest.fixture
def catalog(store, tmp_path):
    for name, version in (("chat", "1.0"), ("chat", "1.1"), ("team/small", "2")):
        path = tmp_path / "f.bin"
        path.write_bytes(f"{name}{version}".encode())
        publish(path, name=name, version=version, store=store, created_unix_s=1)
    return Catalog(store)


def test_what_there_is(catalog):
    assert catalog.releases() == (
        ReleaseId("chat", "1.0"),
        ReleaseId("chat", "1.1"),
        ReleaseId("team/small", "2"),
    )
    assert catalog.names() == ("chat", "team/small")
    assert catalog.versions("chat") == ("1.0", "1.1")
    assert catalog.channels("chat") == {"stable": "1.1"}
    assert catalog.channels("nobody") == {}


def test_an_empty_store_has_nothing():
    assert Catalog(signed_in_memory()).releases() == ()


def test_objects_that_nobody_signed_are_no_releases(catalog, store):
    data, _ = catalog.manifest("chat", "1.0")
    store.put_if_absent(manifest_key("chat", "9", "a" * 64), data)
    store.put_if_absent("manifests/UPPER/1.eaf", b"?")
    assert len(catalog.releases()) == 3
    with pytest.raises(ReleaseUnknownError):
        catalog.manifest("chat", "9")


def test_references_resolve(catalog):
    assert catalog.resolve("chat") == ("chat", "1.1")
    assert catalog.resolve("chat:stable") == ("chat", "1.1")
    assert catalog.resolve("chat@1.0") == ("chat", "1.0")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("chta", "no model chta; did you mean chat"),
        ("zzz", "there are: chat, team/small"),
        ("chat@1.2", "no version 1.2; did you mean 1"),
        ("chat@nine", "it has: 1.0, 1.1"),
        ("chat:canary", "no channel 'canary'; it has: stable"),
    ],
)
def test_the_unknown_is_answered_with_what_is_known(catalog, reference, message):
    with pytest.raises(ReleaseUnknownError, match=message):
        catalog.resolve(reference)


def test_names_that_climb_are_refused(catalog):
    with pytest.raises(InputInvalidError):
        catalog.resolve("../etc")
    with pytest.raises(InputInvalidError):
        catalog.manifest("chat", "../1.0")


def test_channels_move_and_unknown_versions_are_refused(catalog):
    assert catalog.move_channel("chat", "stable", "1.0")
    assert not catalog.move_channel("chat", "stable", "1.0")
    assert catalog.move_channel("chat", "canary", "1.1")
    assert catalog.channels("chat") == {"canary": "1.1", "stable": "1.0"}
    with pytest.raises(ReleaseUnknownError, match=r"no version 3"):
        catalog.move_channel("chat", "stable", "3")


def test_what_was_replaced_does_not_come_back_as_new(catalog):
    catalog.move_channel("chat", "canary", "1.1")
    assert catalog.move_channel("chat", "canary", "1.0", only_new=True)
    assert not catalog.move_channel("chat", "canary", "1.1", only_new=True)
    assert catalog.channels("chat")["canary"] == "1.0"


def test_rolling_back_goes_to_what_was_before_and_twice_comes_back(catalog):
    catalog.move_channel("chat", "canary", "1.0")
    with pytest.raises(ReleaseUnknownError, match="no earlier version"):
        catalog.roll_back("chat", "canary")
    with pytest.raises(ReleaseUnknownError, match="no earlier version"):
        catalog.roll_back("chat", "nowhere")
    catalog.move_channel("chat", "canary", "1.1")
    assert catalog.roll_back("chat", "canary") == "1.0"
    assert catalog.channels("chat")["canary"] == "1.0"
    assert not catalog.move_channel("chat", "canary", "1.1", only_new=True)
    assert catalog.roll_back("chat", "canary") == "1.1"


def test_a_move_that_lost_a_race_is_redone_on_what_won(catalog, store):
    class Racing(MemoryStore):
        raced = False

        def put_if_match(self, key, data, etag):
            if not self.raced:
                self.raced = True
                Catalog(store.over(self)).move_channel("chat", "canary", "1.0")
            return super().put_if_match(key, data, etag)

    racing = Racing()
    for info in store.list(""):
        racing.put_if_absent(info.key, store.get(info.key).data)
    signed = store.over(racing)
    assert Catalog(signed).move_channel("chat", "beta", "1.0")
    assert Catalog(signed).channels("chat") == {"beta": "1.0", "canary": "1.0", "stable": "1.1"}


def test_a_move_that_always_loses_ends(store, catalog):
    class Restless(MemoryStore):
        def put_if_match(self, key, data, etag):
            return super().put_if_match(key, data, "somebody else's")

    restless = Restless()
    for info in store.list(""):
        restless.put_if_absent(info.key, store.get(info.key).data)
    with pytest.raises(StoreError, match="changed by others"):
        Catalog(store.over(restless)).move_channel("chat", "beta", "1.0")


def test_a_yanked_release_is_gone_from_lists_and_channels_and_stays_gone(catalog, store, tmp_path):
    catalog.move_channel("chat", "canary", "1.1")
    assert catalog.yank("chat", "1.1")
    assert not catalog.yank("chat", "1.1")
    assert catalog.versions("chat") == ("1.0",)
    assert catalog.channels("chat") == {
        "stable": "1.0"
    }  # back to what it was before; canary has nowhere to go
    for use in (
        lambda: catalog.manifest("chat", "1.1"),
        lambda: catalog.resolve("chat@1.1"),
        lambda: catalog.move_channel("chat", "stable", "1.1"),
        lambda: publish(tmp_path / "f.bin", name="chat", version="1.1", store=store, created_unix_s=1),
    ):
        with pytest.raises(ReleaseYankedError, match="withdrawn"):
            use()
    with pytest.raises(ReleaseUnknownError):
        catalog.yank("chat", "7")
    with pytest.raises(ReleaseUnknownError, match="no earlier version"):
        catalog.roll_back("chat", "stable")


def test_a_version_has_one_manifest(catalog):
    with pytest.raises(ReleaseConflictError):
        catalog.add("chat", "1.0", catalog.statement("chat", "1.1"))


def test_without_keys_a_catalog_only_reads(catalog, store):
    reading = Catalog(SignedStore(store.reader))
    assert reading.channels("chat") == catalog.channels("chat")
    with pytest.raises(KeyUnusableError, match="no keys"):
        reading.move_channel("chat", "beta", "1.0")


def test_what_was_signed_and_is_not_stored_is_told_apart(catalog, store):
    data, _ = catalog.manifest("chat", "1.0")
    key = manifest_key("chat", "1.0", catalog.statement("chat", "1.0").sha256)
    store.delete(key)
    with pytest.raises(TrustMissingError, match="not in the store"):
        catalog.manifest("chat", "1.0")
    store.put_if_absent(key, data[:-1] + b"x")
    with pytest.raises(TrustTamperedError, match="not the one that was signed"):
        catalog.manifest("chat", "1.0")


def test_a_manifest_under_another_name_is_refused(catalog, store):
    _, manifest = catalog.manifest("chat", "1.0")
    data = encode_manifest(manifest)
    catalog.add("chat", "9", statement_of(data))
    store.put_if_absent(manifest_key("chat", "9", catalog.statement("chat", "9").sha256), data)
    with pytest.raises(ManifestInvalidError, match=r"says it is chat@1\.0"):
        catalog.manifest("chat", "9")
