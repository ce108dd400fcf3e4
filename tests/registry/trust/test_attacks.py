"""Each test plays one attacker, who owns the store and the wire, and not the keys; each is refused by name."""

from __future__ import annotations

import json

import pytest

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import (
    ReleaseUnknownError,
    ReleaseYankedError,
    TrustError,
    TrustExpiredError,
    TrustMissingError,
    TrustMixedError,
    TrustRollbackError,
    TrustSignatureError,
    TrustTamperedError,
    TrustUnsignedError,
)
from registry.trust.kept import KeptInDirectory, KeptInMemory
from registry.trust.reader import require_signed

DAY_S = 86_400.0
SHA_1 = digest_of(b"manifest of chat@1")


def test_what_was_signed_is_believed_and_costs_few_requests(world):
    world.publish()
    reader = world.reader()
    verified = world.read(reader)
    release = require_signed(verified, "chat", "1", SHA_1, channel="stable")
    assert release.length_bytes == len(b"manifest of chat@1")
    assert world.asked == [
        "2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.models.json",
    ]  # fmt: skip
    del world.asked[:]
    world.read(reader)
    assert world.asked == ["2.root.json", "timestamp.json"]
    del world.asked[:]
    world.publish(version="2")
    world.read(reader, ["chat"])
    assert world.asked == ["2.root.json", "timestamp.json", "2.snapshot.json", "2.models.json"]


def test_the_whole_store_swapped_for_another(world, make_world):
    world.publish()
    other = make_world()
    other.publish(data=b"evil")
    world.wire = other.files()
    with pytest.raises(TrustSignatureError):
        world.read(world.reader())


def test_rollback_the_old_timestamp_with_all_that_belongs_to_it(world):
    world.publish(version="1")
    old = world.files()
    world.publish(version="2")
    reader = world.reader()
    world.read(reader)
    world.wire = old
    with pytest.raises(TrustRollbackError, match="older than what was seen"):
        world.read(reader)


def test_rollback_after_a_restart(world, tmp_path):
    world.publish(version="1")
    old = world.files()
    world.publish(version="2")
    world.read(world.reader(KeptInDirectory(tmp_path, b"pin")))
    world.wire = old
    with pytest.raises(TrustRollbackError):
        world.read(world.reader(KeptInDirectory(tmp_path, b"pin")))
    world.read(world.reader(KeptInDirectory(tmp_path, b"another pin")))  # knows nothing yet


def test_rollback_of_one_role_by_whoever_has_the_online_key(world):
    """The online key alone signs no release, and cannot bring back what a role said before either."""
    world.publish(version="1")
    reader = world.reader()
    old = world.files()
    world.publish(version="2")
    world.read(reader)
    publisher = world.store.publisher
    standing = publisher._standing(mend=False)
    meta = json.loads(old["1.snapshot.json"])["signed"]["meta"]
    from tuf.api.metadata import MetaFile, Snapshot, Timestamp

    snapshot = Snapshot(
        version=3,
        expires=standing.root.expires,
        meta={name: MetaFile.from_dict(dict(said)) for name, said in meta.items()},
    )
    data = publisher._signed(snapshot, "snapshot", standing.root)
    stamp = Timestamp(
        version=3, expires=standing.root.expires, snapshot_meta=MetaFile.from_data(3, data, ["sha256"])
    )
    world.wire = {
        "timestamp.json": publisher._signed(stamp, "timestamp", standing.root),
        "3.snapshot.json": data,
    }
    with pytest.raises(TrustRollbackError, match="snapshot"):
        world.read(reader)


def test_freeze_the_last_words_repeated_for_ever(world):
    world.publish()
    reader = world.reader()
    world.read(reader)
    world.now_s += DAY_S + 1
    with pytest.raises(TrustExpiredError, match=r"timestamp\.json has expired"):
        world.read(reader)
    with pytest.raises(TrustExpiredError):
        world.read(world.reader())
    world.store.publisher.renew()
    assert world.read(reader).timestamp.version == 2


@pytest.mark.parametrize(
    ("days", "renewed", "names"),
    [(8, ("timestamp",), "snapshot"), (91, ("timestamp", "snapshot"), "models"), (366, (), "root")],
)
def test_everything_that_is_signed_has_an_end(world, days, renewed, names):
    world.publish()
    reader = world.reader()
    world.now_s += days * DAY_S
    if renewed:
        from registry.trust.publisher import Draft

        world.store.publisher._transact(lambda _: Draft(timestamp_only="snapshot" not in renewed))
    with pytest.raises(TrustExpiredError, match=names if names != "root" else "expired"):
        require_signed(world.read(reader), "chat", "1", SHA_1)


def test_a_lister_reads_what_has_expired_and_knows_it(world):
    world.publish()
    world.now_s += 2 * DAY_S
    assert world.catalog.channels("chat") == {"stable": "1"}
    verified, _ = world.store.reader.read()
    assert world.now_s - 2 * DAY_S < verified.expires_unix_s["timestamp"] <= world.now_s
    assert min(verified.expires_unix_s.values()) == verified.expires_unix_s["timestamp"]


def test_mix_and_match_an_old_snapshot_under_a_new_name(world):
    world.publish(version="1")
    world.publish(version="2")
    world.wire["2.snapshot.json"] = world.file("1.snapshot.json")
    with pytest.raises(TrustMixedError, match="snapshot"):
        world.read(world.reader())


def test_mix_and_match_an_old_role_with_the_new_snapshot(world):
    world.publish(version="1")
    world.publish(version="2")
    world.wire["2.models.json"] = world.file("1.models.json")
    verified = world.read(world.reader())
    with pytest.raises(TrustMixedError, match="models"):
        require_signed(verified, "chat", "2", digest_of(b"manifest of chat@2"))


def test_mix_and_match_the_role_of_another_namespace(world):
    world.publish()
    world.publish("team/chat")
    world.wire["1.models-team.json"] = world.file("1.models.json")
    verified = world.read(world.reader())
    with pytest.raises(TrustError):
        require_signed(verified, "team/chat", "1", digest_of(b"manifest of team/chat@1"))
    require_signed(verified, "chat", "1", SHA_1)  # one publisher's trouble is not another's


@pytest.mark.parametrize("file", ["timestamp.json", "1.snapshot.json", "1.targets.json", "2.root.json"])
def test_the_wrong_key(world, make_world, file):
    world.publish()
    other = make_world()
    other.publish()
    if file == "2.root.json":
        other.store.publisher.rotate("root")
    world.wire[file] = other.file(file)
    with pytest.raises((TrustSignatureError, TrustTamperedError)) as caught:
        world.read(world.reader())
    if file in {
        "timestamp.json",
        "2.root.json",
    }:  # the others are refused for their hash before their signature
        assert type(caught.value) is TrustSignatureError


def test_a_root_that_is_signed_by_too_few(make_world):
    world = make_world(keys=None)
    from registry.trust import ceremony
    from registry.trust.keys import KeysInMemory

    keys = KeysInMemory()
    ceremony.begin(keys, now_unix_s=world.now_s, root_keys_count=3, threshold=2)
    world = make_world(keys=keys)
    world.publish()
    world.store.publisher.rotate("online")
    stolen = json.loads(world.file("2.root.json"))
    for signature in stolen["signatures"][1:]:
        signature["sig"] = stolen["signatures"][0]["sig"]
    world.wire["2.root.json"] = json.dumps(stolen).encode()
    with pytest.raises(TrustSignatureError):
        world.read(world.reader())


def test_a_root_that_skips_a_version(world):
    world.publish()
    world.store.publisher.rotate("online")
    world.store.publisher.rotate("online")
    world.wire["2.root.json"] = world.file("3.root.json")
    with pytest.raises(TrustRollbackError):
        world.read(world.reader())


def test_a_store_that_was_emptied_is_not_taken_for_a_new_one(world):
    world.publish()
    for info in list(world.objects.list("")):
        world.objects.delete(info.key)
    with pytest.raises(TrustMissingError, match="kept back"):
        world.catalog.releases()
    with pytest.raises(TrustMissingError):
        world.publish(version="2")


def test_an_origin_that_names_another_manifest_release_or_channel(world):
    for version in ("1", "2"):
        world.publish(version=version)
    verified = world.read(world.reader())
    for name, version, sha256, channel, error in (
        ("chat", "2", SHA_1, "stable", TrustUnsignedError),
        ("chat", "3", SHA_1, None, TrustUnsignedError),
        ("chat", "1", SHA_1, "stable", TrustUnsignedError),  # signed once, and not what the channel says now
        ("chat", "1", SHA_1, "canary", TrustUnsignedError),
        ("nobody/chat", "1", SHA_1, None, ReleaseUnknownError),
    ):
        with pytest.raises(error):
            require_signed(verified, name, version, sha256, channel=channel)


def test_a_withdrawn_release_is_not_installed(world):
    world.publish()
    world.catalog.yank("chat", "1")
    with pytest.raises(ReleaseYankedError):
        require_signed(world.read(world.reader()), "chat", "1", SHA_1)


def test_a_namespaces_publisher_cannot_speak_for_others(world, said):
    """Whoever has the key of `team/` signs that `chat` has another release, and points its channel there."""
    from registry.trust.statements import Contents

    world.publish()
    evil = Contents(
        {("chat", "6"): said(b"evil"), ("team/x", "1"): said(b"fine")},
        {"chat": {"stable": ("6",)}, "team/x": {"stable": ("1",)}},
    )
    world.store.publisher.change("models-team", lambda _: evil)
    verified = world.read(world.reader())
    assert sorted(verified.releases()) == [("chat", "1"), ("team/x", "1")]
    assert verified.channels() == {"chat": {"stable": ("1",)}, "team/x": {"stable": ("1",)}}
    assert Catalog(world.store).channels("chat") == {"stable": "1"}


def test_delegations_of_names_that_are_kept_for_other_files_are_passed_over(world):
    """Whoever has the targets key delegates to a role `2.root`, so that its file takes a kept root's place."""
    from tuf.api.metadata import DelegatedRole

    from registry.trust.publisher import Draft
    from registry.trust.statements import Contents

    world.publish()

    def draft(standing):
        targets = standing.targets
        targets.delegations.roles["2.root"] = DelegatedRole("2.root", [], 1, True, paths=["*/*"])
        targets.add_key(world.keys.make("evil"), "2.root")
        return Draft(targets=targets, contents={"2.root": Contents()})

    world.store.publisher._transact(draft)
    kept = KeptInMemory()
    assert sorted(world.read(world.reader(kept)).contents) == ["models"]
    assert "2.root.json" not in kept.files


def test_a_tampered_manifest_and_a_swapped_one(world):
    from registry.layout import manifest_key

    world.publish()
    key = manifest_key("chat", "1", SHA_1)
    for data in (b"manifest of chat@0", b"manifest of chat@1 and more", b"short"):
        world.objects.delete(key)
        world.objects.put_if_absent(key, data)
        with pytest.raises(TrustError):
            world.catalog.manifest("chat", "1")


def test_a_refused_look_changes_nothing_that_is_kept(world, make_world):
    world.publish()
    kept = KeptInMemory()
    reader = world.reader(kept)
    world.read(reader)
    before = dict(kept.files)
    other = make_world()
    other.publish()
    world.wire = other.files()
    with pytest.raises(TrustError):
        world.read(reader)
    assert kept.files == before


async def test_a_swapped_pack_never_reaches_a_file(world, tmp_path):
    """The attacker replaces a pack by one that another release's publisher made, whole and well-formed."""
    from registry.errors import ChunkMismatchError
    from registry.fetch import StoreSource, fetch
    from registry.layout import PACKS
    from registry.publish import publish

    for name, byte in (("chat", b"a"), ("evil", b"b")):
        (tmp_path / name).write_bytes(byte * 100_000)
        publish(tmp_path / name, name=name, version="1", store=world.store, created_unix_s=1)
    packs = [info.key for info in world.objects.list(PACKS)]
    data = [world.objects.get(key).data for key in packs]
    for key, swapped in zip(packs, reversed(data), strict=True):
        world.objects.delete(key)
        world.objects.put_if_absent(key, swapped)
    manifest_bytes, _ = world.catalog.manifest("chat", "1")
    with pytest.raises(ChunkMismatchError):
        await fetch(manifest_bytes, StoreSource(world.store), tmp_path / "out")
    assert not (tmp_path / "out").exists()
