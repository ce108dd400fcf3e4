import pytest

from registry import wire
from registry.catalog import Catalog, ReleaseId
from registry.errors import InputInvalidError, ManifestInvalidError, ReleaseUnknownError, StoreError
from registry.layout import channels_key, manifest_key
from registry.publish import publish
from registry.store.memory import MemoryStore


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
    assert Catalog(MemoryStore()).releases() == ()


def test_foreign_keys_are_passed_over(catalog, store):
    for key in (
        "manifests/x.eaf",
        "manifests/UPPER/1.eaf",
        "manifests/chat/1.0.eaf.tmp",
        "manifests/a/b/c/1.eaf",
    ):
        store.put_if_absent(key, b"?")
    assert len(catalog.releases()) == 3


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
                Catalog(self).move_channel("chat", "canary", "1.0")
            return super().put_if_match(key, data, etag)

    racing = Racing()
    for info in store.list(""):
        racing.put_if_absent(info.key, store.get(info.key).data)
    assert Catalog(racing).move_channel("chat", "beta", "1.0")
    assert Catalog(racing).channels("chat") == {"beta": "1.0", "canary": "1.0", "stable": "1.1"}


def test_a_move_that_always_loses_ends(store, catalog):
    class Restless(MemoryStore):
        def get(self, key):
            found = super().get(key)
            if key == channels_key("chat"):
                version, *_ = wire.from_msgpack(found.data, dict)["channels"]["stable"]
                super().put_if_match(
                    key, wire.to_msgpack({"schema": 1, "channels": {"stable": [version + "0"]}}), found.etag
                )
            return found

    restless = Restless()
    for info in store.list(""):
        restless.put_if_absent(info.key, store.get(info.key).data)
    with pytest.raises(StoreError, match="changed by others"):
        Catalog(restless).move_channel("chat", "beta", "1.0")


@pytest.mark.parametrize("data", [b"junk", wire.to_msgpack({"schema": 9, "channels": {}})])
def test_damaged_channels_are_named(catalog, store, data):
    store.delete(channels_key("chat"))
    store.put_if_absent(channels_key("chat"), data)
    with pytest.raises(StoreError, match="channels of chat cannot be read"):
        catalog.channels("chat")


def test_a_manifest_under_another_name_is_refused(catalog, store):
    store.put_if_absent(manifest_key("chat", "9"), store.get(manifest_key("chat", "1.0")).data)
    with pytest.raises(ManifestInvalidError, match=r"says it is chat@1\.0"):
        catalog.manifest("chat", "9")
