"""The directory of prefixes over restarts, damage and strangers."""

import os
import stat

import pytest

from edge_node.engines.llama.prefix_disk import PrefixDisk, published
from edge_node.engines.llama.prefix_file import encode_head, head_of

PAYLOAD = b"keys and values" * 100


@pytest.fixture
def disk(tmp_path):
    disk = PrefixDisk(tmp_path / "prefixes", identity="this engine")
    disk.stored()
    yield disk
    disk.close()


def again(disk):
    disk.close()
    return PrefixDisk(disk._directory, identity="this engine")


def test_what_is_written_is_there_after_a_restart(disk):
    long = disk.write("ann", 2, [1, 2, 3], PAYLOAD).result()
    short = disk.write(None, 0, [1, 2], b"x").result()
    reopened = again(disk)
    assert reopened.stored() == [short, long]
    assert reopened.read(long.path) == PAYLOAD
    assert reopened.refused_count == 0
    assert long.size_bytes == long.path.stat().st_size
    reopened.remove(long.path)
    reopened.close()
    assert not long.path.exists()


def test_files_hold_prompts_so_nobody_else_reads_them(disk):
    stored = disk.write("ann", 0, [1], PAYLOAD).result()
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.path.parent.stat().st_mode) == 0o700


def test_a_damaged_payload_is_found_when_it_is_read(disk):
    stored = disk.write("ann", 0, [1], PAYLOAD).result()
    with stored.path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    assert [found.path for found in disk.stored()] == [stored.path]  # the head is whole
    assert disk.read(stored.path) is None
    assert disk.refused_count == 1
    assert not stored.path.exists()


def test_what_is_foreign_cut_short_or_half_written_is_removed(disk, tmp_path):
    whole = disk.write("ann", 0, [1], PAYLOAD).result()
    other = PrefixDisk(disk._directory, identity="another engine")
    foreign = other.write("ann", 0, [1], PAYLOAD).result()
    other.close()
    short = disk.write("ann", 0, [7], PAYLOAD).result()
    os.truncate(short.path, short.size_bytes - 1)
    renamed = whole.path.with_name("0" * 64 + ".edgekv")
    renamed.write_bytes(whole.path.read_bytes())
    half = whole.path.with_name(whole.path.name + ".new")
    half.write_bytes(b"EDGE")
    reopened = again(disk)
    assert [stored.path for stored in reopened.stored()] == [whole.path]
    assert reopened.refused_count == 4
    assert not any(path.exists() for path in (foreign.path, short.path, renamed, half))
    reopened.close()


def test_a_disk_that_takes_nothing_costs_only_the_cache(disk):
    disk._directory.rmdir()
    disk._directory.write_bytes(b"in the way")
    assert disk.write("ann", 0, [1], PAYLOAD).result() is None
    assert disk.stored() == []


def test_a_release_brings_prefixes_for_the_engines_that_they_fit(tmp_path):
    for name, identity, scope in (("a.edgekv", "this engine", None), ("b.edgekv", "other", None),
                                  ("c.edgekv", "this engine", "ann")):  # fmt: skip
        head = head_of(identity, scope, 0, [1, 2], PAYLOAD)
        (tmp_path / name).write_bytes(encode_head(head) + PAYLOAD)
    (tmp_path / "d.edgekv").write_bytes(b"not a prefix")
    names = ("model.gguf", "a.edgekv", "b.edgekv", "c.edgekv", "d.edgekv")
    usable, unusable_count = published(tmp_path, names, identity="this engine")
    assert [stored.path.name for stored in usable] == ["a.edgekv"]
    assert unusable_count == 3
    assert (tmp_path / "b.edgekv").exists()  # a release's files are not ours to remove
