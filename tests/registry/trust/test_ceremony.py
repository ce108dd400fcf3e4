"""The procedures: first keys, thresholds, rotation, a lost online key, a stolen one, a rotation that broke off."""

from __future__ import annotations

import stat

import pytest

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import (
    InputInvalidError,
    KeyUnusableError,
    StoreUnavailableError,
    TrustError,
    TrustSignatureError,
)
from registry.layout import trust_key
from registry.trust import ceremony
from registry.trust.keys import ROOT_FILE, KeyDirectory, KeysInMemory
from registry.trust.reader import require_signed


def lose(keys, root, *roles):
    """The keys of these roles are gone."""
    for role in roles:
        for key_id in root.roles[role].keyids:
            keys.signers_by_id.pop(key_id, None)


@pytest.mark.parametrize("role", ["root", "targets", "online"])
def test_rotation_is_followed_by_those_who_pinned_the_first_root(world, role):
    world.publish(version="1")
    reader = world.reader()
    before = world.read(reader)
    world.store.publisher.rotate(role)
    for follower in (reader, world.reader()):
        after = world.read(follower)
        assert after.root.version == 2
        assert after.releases() == before.releases()
    name = "timestamp" if role == "online" else role
    assert not set(before.root.roles[name].keyids) & set(after.root.roles[name].keyids)
    lose(world.keys, before.root, name)  # the old ones are needed for nothing
    world.publish(version="2")
    assert ("chat", "2") in world.read(reader).releases()


@pytest.mark.parametrize("namespace", ["", "team"])
def test_a_publishers_key_is_replaced_by_the_targets_key(world, namespace):
    name = f"{namespace}/chat" if namespace else "chat"
    world.publish(name)
    reader = world.reader()
    role = "models-team" if namespace else "models"
    old = world.read(reader).targets.delegations.roles[role].keyids
    world.store.publisher.delegate(namespace)
    after = world.read(reader)
    assert not set(old) & set(after.targets.delegations.roles[role].keyids)
    require_signed(after, name, "1", digest_of(f"manifest of {name}@1".encode()))
    for key_id in old:
        del world.keys.signers_by_id[key_id]
    world.publish(name, version="2")


def test_a_new_namespace(world):
    with pytest.raises(InputInvalidError, match="edgeward keys delegate lab"):
        world.publish("lab/chat")
    world.publish()
    world.store.publisher.delegate("lab")
    world.publish("lab/chat")
    assert world.read(world.reader(), ["lab/chat"]).channels() == {"lab/chat": {"stable": ("1",)}}


def test_a_lost_online_key_is_replaced_without_it(world):
    world.publish(version="1")
    reader = world.reader()
    verified = world.read(reader)
    lose(world.keys, verified.root, "timestamp")
    with pytest.raises(KeyUnusableError, match="too few keys in memory may sign for"):
        world.publish(version="2")
    world.store.publisher.rotate("online")
    world.publish(version="2")
    assert world.read(reader).channels() == {"chat": {"stable": ("2", "1")}}


def test_a_stolen_online_key_that_ran_ahead_is_replaced(world):
    """The thief signs a timestamp with the highest number, so that no honest one is newer; a new root ends that."""
    from tuf.api.metadata import MetaFile, Timestamp

    world.publish(version="1")
    reader = world.reader()
    verified = world.read(reader)
    publisher = world.store.publisher
    snapshot = world.file("1.snapshot.json")
    stamp = Timestamp(
        version=2**31,
        expires=verified.root.expires,
        snapshot_meta=MetaFile.from_data(2**31, snapshot, ["sha256"]),
    )
    world.put("timestamp.json", publisher._signed(stamp, "timestamp", verified.root))
    with pytest.raises(TrustError):
        world.read(reader)  # there is no such snapshot; but the reader has seen the number now
    with pytest.raises(TrustError):
        world.publish(version="2")
    world.store.publisher.rotate("online")
    world.publish(version="2")
    assert world.read(reader).channels() == {"chat": {"stable": ("2", "1")}}


def test_a_rotation_that_broke_off_is_finished_by_a_renewal(world):
    world.publish(version="1")
    reader = world.reader()
    world.read(reader)
    put = world.objects.put_if_absent
    world.objects.put_if_absent = lambda key, data: put(key, data) if "root" in key else died()

    def died():
        raise StoreUnavailableError("dead")

    with pytest.raises(StoreUnavailableError):
        world.store.publisher.rotate("online")
    world.objects.put_if_absent = put
    with pytest.raises(TrustSignatureError):
        world.read(reader)
    with pytest.raises(TrustSignatureError):
        world.publish(version="2")
    assert world.store.publisher.renew(even_if_young=True)
    world.publish(version="2")
    assert world.read(reader).channels() == {"chat": {"stable": ("2", "1")}}


def test_a_threshold_of_root_keys(make_world):
    keys = KeysInMemory()
    ceremony.begin(keys, now_unix_s=1_800_000_000, root_keys_count=3, threshold=2)
    world = make_world(keys=keys)
    world.publish()
    root = world.read(world.reader()).root
    assert (len(root.roles["root"].keyids), root.roles["root"].threshold) == (3, 2)
    first, second, _ = root.roles["root"].keyids
    kept = {key_id: keys.signers_by_id.pop(key_id) for key_id in (first, second)}
    with pytest.raises(KeyUnusableError, match="a new root needs 2 of its root keys"):
        world.store.publisher.rotate("online")
    keys.signers_by_id[first] = kept[first]  # two of three are enough, whichever
    world.store.publisher.rotate("online")
    assert world.read(world.reader()).root.version == 2


@pytest.mark.parametrize(("count", "threshold"), [(0, 0), (1, 2), (3, 0), (17, 1)])
def test_thresholds_that_cannot_be(count, threshold):
    with pytest.raises(InputInvalidError, match="root keys"):
        ceremony.begin(KeysInMemory(), now_unix_s=0, root_keys_count=count, threshold=threshold)


@pytest.mark.parametrize("role", ["root", "targets", "models"])
def test_offline_roles_get_a_new_date_with_the_same_keys(world, role):
    world.publish()
    reader = world.reader()
    before = world.read(reader)
    world.now_s += 3_600
    world.store.publisher.renew_offline(role)
    after = world.read(reader)
    assert after.expires_unix_s[role] == before.expires_unix_s[role] + 3_600
    assert after.root.roles["root"].keyids == before.root.roles["root"].keyids


def test_renewal_waits_for_half_of_the_time(world):
    publisher = world.store.publisher
    assert not publisher.renew()  # nothing was published yet
    world.publish()
    assert not publisher.renew()
    world.now_s += 13 * 3_600
    assert publisher.renew()
    assert world.catalog.channels("chat") == {"stable": "1"}
    verified, _ = world.store.reader.read()
    assert (verified.timestamp.version, verified.snapshot.version) == (2, 1)
    world.now_s += 4 * 86_400
    assert publisher.renew()
    verified, _ = world.store.reader.read()
    assert (verified.timestamp.version, verified.snapshot.version) == (3, 2)


def test_the_online_key_alone_renews_and_signs_nothing_else(world, said):
    world.publish()
    root = world.read(world.reader()).root
    online = KeysInMemory()
    online.files = dict(world.keys.files)
    for key_id in root.roles["timestamp"].keyids:
        online.signers_by_id[key_id] = world.keys.signers_by_id[key_id]
    from registry.trust.signed_store import SignedStore

    store = SignedStore(world.store.reader.over(world.objects), online)
    assert store.publisher.renew(even_if_young=True)
    with pytest.raises(KeyUnusableError):
        Catalog(store).add("chat", "2", said(b"evil"), channel="stable")
    assert trust_key("2.models.json") not in [info.key for info in world.objects.list("tuf/")]


def test_a_key_directory_is_its_owners_alone(tmp_path):
    keys = KeyDirectory(tmp_path / "deep" / "keys")
    ceremony.begin(keys, now_unix_s=0, root_keys_count=2)
    assert stat.S_IMODE(keys.directory.stat().st_mode) == 0o700
    files = sorted(keys.directory.glob("*.key"))
    assert [label for label, _ in keys.labels()] == [
        "client-keys", "models", "online", "root1", "root2", "targets",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    key_ids = [start for _, start in keys.labels()]
    root = KeyDirectory(keys.directory)
    assert len(root.signers([key_id.ljust(64, "0") for key_id in key_ids])) == 0  # the start is not the key
    files[0].chmod(0o640)
    from registry.trust.verification import check_root

    named = check_root(keys.read(ROOT_FILE))
    assert named.roles["root"].threshold == 1
    with pytest.raises(KeyUnusableError, match="chmod 600"):
        KeyDirectory(keys.directory).signers([f"{key_ids[0]}…"])


def test_keys_behind_a_passphrase(tmp_path):
    keys = KeyDirectory(tmp_path, "correct horse")
    key = keys.make("models")
    assert b"ENCRYPTED" in next(tmp_path.glob("*.key")).read_bytes()
    assert len(KeyDirectory(tmp_path, "correct horse").signers([key.keyid])) == 1
    for wrong in ("", "battery staple"):
        with pytest.raises(KeyUnusableError, match="EDGEWARD_STORE_KEYS_PASSPHRASE"):
            KeyDirectory(tmp_path, wrong).signers([key.keyid])


def test_keys_from_a_directory_sign_what_a_reader_believes(tmp_path, make_world):
    keys = KeyDirectory(tmp_path / "keys")
    ceremony.begin(keys, now_unix_s=1_800_000_000)
    world = make_world(keys=keys)
    world.publish()
    online = tmp_path / "online"
    keys.lend("online", online)
    assert sorted(path.name.partition("-")[0] for path in online.iterdir()) == ["online", "root.json"]
    from registry.trust.signed_store import SignedStore

    assert SignedStore(world.store.reader, KeyDirectory(online)).publisher.renew(even_if_young=True)
    assert world.read(world.reader()).timestamp.version == 2
