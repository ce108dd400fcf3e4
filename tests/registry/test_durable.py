from __future__ import annotations

from registry.durable import write_durably


def test_a_file_is_replaced_as_a_whole_over_what_a_crash_left(tmp_path):
    path = tmp_path / "active.json"
    path.write_bytes(b"old")
    (tmp_path / ".active.json.new").write_bytes(b"half of a longer file")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["active.json"]
