from __future__ import annotations

import stat

from registry.durable import make_folders, write_durably


def test_a_file_is_replaced_as_a_whole_over_what_a_crash_left(tmp_path):
    path = tmp_path / "active.json"
    path.write_bytes(b"old")
    (tmp_path / ".active.json.new").write_bytes(b"half of a longer file")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["active.json"]


def test_new_folders_last_in_the_ones_above_them(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("registry.durable.sync", synced.append)
    make_folders(tmp_path / "a/b/c", 0o700)
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    assert stat.S_IMODE((tmp_path / "a/b/c").stat().st_mode) == 0o700
    make_folders(tmp_path / "a/b/c")
    assert len(synced) == 3
    make_folders(tmp_path / "a/b/d")
    assert synced[3:] == [tmp_path / "a/b"]
