"""Metadata that are changed, cut off, kept back, or have no end, on the wire, in the store and on the disk."""

from __future__ import annotations

import pytest

from registry.digest import digest_of
from registry.errors import (
    TrustEndlessError,
    TrustError,
    TrustMissingError,
)
from registry.trust.kept import KeptInDirectory
from registry.trust.reader import require_signed

SHA_1 = digest_of(b"manifest of chat@1")


@pytest.mark.parametrize("file", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.models.json"])
def test_every_flipped_byte_is_found(world, file):
    world.publish()
    right = world.file(file)
    for position in range(0, len(right), 7):
        world.wire[file] = right[:position] + bytes([right[position] ^ 1]) + right[position + 1 :]
        with pytest.raises(TrustError):
            require_signed(world.read(world.reader()), "chat", "1", SHA_1)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[" * 10_000, b"\xff" * 50, b'{"signed": {"_type": "timestamp"}, "signatures": []}']
)
def test_what_is_no_metadata_at_all(world, data):
    world.publish()
    world.wire["timestamp.json"] = data
    with pytest.raises(TrustError):
        world.read(world.reader())


@pytest.mark.parametrize(
    "file", ["timestamp.json", "2.root.json", "1.snapshot.json", "1.targets.json", "1.models.json"]
)
def test_endless_data(world, file):
    world.publish()
    limits = {}

    async def get(name, limit_bytes):
        limits[name] = limit_bytes
        return b"x" * (limit_bytes + 1) if name == file else await world.get(name, limit_bytes)

    reader = world.reader()
    reader._get = get
    with pytest.raises(TrustEndlessError):
        require_signed(world.read(reader), "chat", "1", SHA_1)
    assert limits[file] <= 2**25
    if file[0] == "1":  # what is named by something signed may have exactly the length that was signed
        assert limits[file] == len(world.file(file))


def test_endless_data_in_the_store(world):
    world.publish()
    fresh = world.store.over(world.objects)
    world.put("timestamp.json", b"x" * 20_000)
    with pytest.raises(TrustEndlessError):
        fresh.reader.read()


def test_endless_rotations(world, monkeypatch):
    world.publish()
    monkeypatch.setattr("registry.trust.verification.ROTATIONS_LIMIT_COUNT", 3)
    for _ in range(4):
        world.store.publisher.rotate("online")
    reader = world.reader()
    with pytest.raises(TrustEndlessError, match="3 times in a row"):
        world.read(reader)
    assert (
        world.read(reader).root.version == 5
    )  # what was walked is kept, so the next look goes on from there


@pytest.mark.parametrize("file", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.models.json"])
def test_what_is_kept_back(world, file):
    world.publish()
    world.wire[file] = None
    with pytest.raises(TrustMissingError):
        require_signed(world.read(world.reader()), "chat", "1", SHA_1)


@pytest.mark.parametrize("data", [b"", b"{", b"garbled by the disk"])
def test_what_the_disk_garbled_is_fetched_again(world, tmp_path, data):
    world.publish(version="1")
    kept = KeptInDirectory(tmp_path, b"pin")
    world.read(world.reader(kept))
    world.store.publisher.rotate("online")
    before = world.read(world.reader(kept))
    files = sorted(kept.directory.glob("*.json"))
    assert len(files) == 7  # three roots' files, and one for each other role
    for path in files:
        path.write_bytes(data)
        assert world.read(world.reader(kept)).releases() == before.releases()
