"""What a directory store does beyond the promises of every store: what kills and crashes leave, and what lasts."""

import fcntl

import pytest

from registry.errors import DiskFullError
from registry.store.directory import DirectoryStore


def incoming(root):
    return sorted(path.name for path in (root / ".incoming").iterdir())


def test_what_a_killed_writer_left_goes_with_the_next_write_and_what_is_in_use_stays(tmp_path):
    folder = tmp_path / ".incoming"
    folder.mkdir()
    (folder / "left").write_bytes(bytes(1000))
    with (folder / "busy").open("wb") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        assert DirectoryStore(tmp_path).put_if_absent("packs/00/a", b"a")
        assert incoming(tmp_path) == ["busy"]
    store = DirectoryStore(tmp_path)
    store.put_if_match("tuf/timestamp.json", b"b", None)
    assert incoming(tmp_path) == []
    assert {info.key for info in store.list("")} == {"packs/00/a", "tuf/timestamp.json"}


def test_a_write_that_finds_the_disk_full_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("registry.store.directory.os.fsync", full)
    with pytest.raises(DiskFullError):
        DirectoryStore(tmp_path).put_if_absent("packs/00/a", b"a")
    assert incoming(tmp_path) == []


def test_an_object_that_was_there_counts_once_its_name_lasts(tmp_path, monkeypatch):
    """Whoever linked it may have been killed before the folder was made durable."""
    store = DirectoryStore(tmp_path)
    store.put_if_absent("packs/00/a", b"a")
    synced = []
    monkeypatch.setattr(DirectoryStore, "_sync", lambda self, folder: synced.append(folder))
    assert not store.put_if_absent("packs/00/a", b"a")
    assert synced == [tmp_path / "packs/00", tmp_path / "packs", tmp_path]
