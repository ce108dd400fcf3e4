import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import (
    ChunkMismatchError,
    DiskFullError,
    ManifestInvalidError,
    ReleaseConflictError,
    StoreUnavailableError,
)
from registry.fetch import StoreSource, fetch, remove_stale_partials
from registry.layout import PACKS
from registry.publish import publish


@pytest.fixture
def gguf_bytes(gguf_bytes):
    """A model of 20 chunks of 306 kB and a header: 7 requests of 1 MB."""
    tensors = {f"t{number}": ((576, 500), 8, 306_000) for number in range(20)}
    return lambda template="{{ messages }}": gguf_bytes(tensors=tensors, template=template)


@pytest.fixture
def model(tmp_path, gguf_bytes):
    path = tmp_path / "source" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(gguf_bytes())
    return path


@pytest.fixture
def release(model, store):
    """The manifest's bytes of a release that takes many ranges."""
    return _release(model, store, "1")


def _release(path, store, version):
    publish(path, name="chat", version=version, store=store, created_unix_s=5)
    return Catalog(store).manifest("chat", version)[0]


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch):
    """Many requests for a small model."""
    monkeypatch.setattr("registry.fetch.job.plan_reads", _plan_small)


def _plan_small(wanted):
    from registry.plan import plan_reads

    return plan_reads(wanted, range_limit_bytes=1_000_000)


class Meddling(StoreSource):
    """A source that does something to chosen answers, counted from 0."""

    def __init__(self, store, meddle):
        super().__init__(store)
        self.reads = []
        self._meddle = meddle

    async def read_range(self, key, offset_bytes, length_bytes):
        self.reads.append((key, offset_bytes, length_bytes))
        number = len(self.reads) - 1
        data = await super().read_range(key, offset_bytes, length_bytes)
        return await self._meddle(number, data)


def _partials(tmp_path):
    return sorted(path.name for path in tmp_path.glob(".partial-*"))


async def test_a_release_appears_whole(tmp_path, model, store, release):
    steps = []
    report = await fetch(release, StoreSource(store), tmp_path / "r/1", progress=steps.append)
    assert (tmp_path / "r/1/files/model.gguf").read_bytes() == model.read_bytes()
    assert (tmp_path / "r/1/manifest.eaf").read_bytes() == release
    assert report.total_bytes == model.stat().st_size
    assert report.fetched_bytes == sum(info.length_bytes for info in store.list(PACKS))
    assert (report.reused_bytes, report.resumed_bytes) == (0, 0)
    assert report.requests_count > 2
    assert (steps[-1].done_bytes, steps[-1].source) == (report.total_bytes, "store")
    assert _partials(tmp_path / "r") == []


async def test_a_target_may_be_a_relative_path(tmp_path, monkeypatch, model, store, release):
    monkeypatch.chdir(tmp_path)
    await fetch(release, StoreSource(store), Path("here"))
    assert (tmp_path / "here" / "files" / "model.gguf").read_bytes() == model.read_bytes()
    again = await fetch(release, StoreSource(store), Path("here"))
    assert again.requests_count == 0


async def test_what_is_there_is_not_fetched_again(tmp_path, store, release):
    await fetch(release, StoreSource(store), tmp_path / "1")
    report = await fetch(release, StoreSource(store), tmp_path / "1")
    assert (report.requests_count, report.resumed_bytes) == (0, report.total_bytes)


async def test_what_a_fetch_left_that_was_killed_at_its_end_goes_with_the_next(tmp_path, store, release):
    target = tmp_path / "target[1]"
    await fetch(release, StoreSource(store), target)
    left = tmp_path / ".partial-target[1]~0123456789abcdef"
    other = tmp_path / ".partial-target~0123456789abcdef"
    for place in (left, other):
        place.mkdir()
        (place / "journal").write_bytes(b"EAFJ1")
    await fetch(release, StoreSource(store), target)
    assert (left.exists(), other.exists()) == (False, True)


async def test_an_update_takes_what_the_old_release_has(tmp_path, model, store, release, gguf_bytes):
    await fetch(release, StoreSource(store), tmp_path / "1")
    model.write_bytes(gguf_bytes(template="edited"))
    newer = _release(model, store, "2")
    report = await fetch(newer, StoreSource(store), tmp_path / "2", local=[tmp_path / "none", tmp_path / "1"])
    assert (tmp_path / "2/files/model.gguf").read_bytes() == model.read_bytes()
    assert report.fetched_bytes < 1000
    assert report.reused_bytes > 0.99 * report.total_bytes
    assert report.requests_count == 1


async def test_damage_in_the_old_release_is_noticed_and_fetched(tmp_path, model, store, release, gguf_bytes):
    await fetch(release, StoreSource(store), tmp_path / "1")
    with (tmp_path / "1/files/model.gguf").open("r+b") as file:
        file.seek(model.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    model.write_bytes(gguf_bytes(template="edited"))
    report = await fetch(
        _release(model, store, "2"), StoreSource(store), tmp_path / "2", local=[tmp_path / "1"]
    )
    assert (tmp_path / "2/files/model.gguf").read_bytes() == model.read_bytes()
    assert report.fetched_bytes > 100_000


async def test_old_releases_that_cannot_be_read_do_no_harm(tmp_path, model, store, release):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/manifest.eaf").write_bytes(b"junk")
    (tmp_path / "gone/files").mkdir(parents=True)
    (tmp_path / "gone/manifest.eaf").write_bytes(release)
    await fetch(release, StoreSource(store), tmp_path / "1", local=[tmp_path / "bad", tmp_path / "gone"])
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()


async def test_a_wrong_answer_is_asked_for_again(tmp_path, model, store, release):
    async def spoil(number, data):
        return {1: data[:-1], 2: bytes(len(data)), 3: data + b"x"}.get(number, data)

    source = Meddling(store, spoil)
    await fetch(release, source, tmp_path / "1")
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()


async def test_a_source_that_only_lies_is_given_up_after_three_tries(tmp_path, store, release):
    async def spoil(number, data):
        return bytes(len(data))

    source = Meddling(store, spoil)
    with pytest.raises(ChunkMismatchError, match="gave wrong bytes 3 times"):
        await fetch(release, source, tmp_path / "1", concurrency_count=1)
    assert not (tmp_path / "1").exists()
    assert max(Counter(source.reads).values()) <= 3


async def test_a_fetch_that_was_cut_off_goes_on(tmp_path, model, store, release):
    async def fail(number, data):
        if number == 3:
            raise StoreUnavailableError("away")
        return data

    with pytest.raises(StoreUnavailableError):
        await fetch(release, Meddling(store, fail), tmp_path / "1", concurrency_count=1)
    assert not (tmp_path / "1").exists()
    report = await fetch(release, StoreSource(store), tmp_path / "1")
    assert report.resumed_bytes > 0
    assert report.fetched_bytes < sum(info.length_bytes for info in store.list(PACKS)) - 1_000_000
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()
    assert _partials(tmp_path) == []


async def test_cancelling_keeps_what_has_arrived(tmp_path, model, store, release):
    reached = asyncio.Event()

    async def block(number, data):
        if number >= 3:
            reached.set()
            await asyncio.Event().wait()
        return data

    task = asyncio.create_task(fetch(release, Meddling(store, block), tmp_path / "1"))
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(_partials(tmp_path)) == 1
    await fetch(release, StoreSource(store), tmp_path / "1")
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()


async def test_a_resumed_piece_that_rotted_is_fetched_again(tmp_path, model, store, release):
    async def fail(number, data):
        if number == 4:
            raise StoreUnavailableError("away")
        return data

    with pytest.raises(StoreUnavailableError):
        await fetch(release, Meddling(store, fail), tmp_path / "1", concurrency_count=1)
    (partial,) = tmp_path.glob(".partial-*")
    file = partial / "release/files/model.gguf"
    file.write_bytes(b"\xaa" * file.stat().st_size)
    with (partial / "journal").open("ab") as journal:
        journal.write(b"\xff\xff\xff\xff\x01\x00")  # a piece that does not exist, and a torn record
    report = await fetch(release, StoreSource(store), tmp_path / "1")
    assert report.resumed_bytes == 0
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()


@pytest.mark.parametrize("junk", [b"", b"EAF", b"\0" * 500])
async def test_a_journal_of_something_else_starts_anew(tmp_path, model, store, release, junk):
    place = tmp_path / f".partial-1~{digest_of(release)[:16]}"
    place.mkdir()
    (place / "journal").write_bytes(junk)
    await fetch(release, StoreSource(store), tmp_path / "1")
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()


async def test_two_fetches_of_one_release_do_it_once(tmp_path, model, store, release):
    async def slowly(number, data):
        await asyncio.sleep(0)
        return data

    source = Meddling(store, slowly)
    reports = await asyncio.gather(*(fetch(release, source, tmp_path / "1") for _ in range(3)))
    assert len(source.reads) == len(set(source.reads))
    assert sorted(report.fetched_bytes > 0 for report in reports) == [False, False, True]
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()


async def test_another_release_at_the_target_is_left_alone(tmp_path, model, store, release, gguf_bytes):
    await fetch(release, StoreSource(store), tmp_path / "1")
    model.write_bytes(gguf_bytes(template="edited"))
    with pytest.raises(ReleaseConflictError, match="another release"):
        await fetch(_release(model, store, "2"), StoreSource(store), tmp_path / "1")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("keep me")
    with pytest.raises(ReleaseConflictError, match="not a release"):
        await fetch(release, StoreSource(store), tmp_path / "notes")


async def test_a_damaged_manifest_is_refused_first(tmp_path, store, release):
    with pytest.raises(ManifestInvalidError):
        await fetch(release[:-5], StoreSource(store), tmp_path / "1")
    assert list(tmp_path.glob("1*")) == []


async def test_chunks_that_occur_twice_are_fetched_once_and_empty_files_exist(tmp_path, store):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    block = random.Random(1).randbytes(4 << 20)
    (source / "twice.bin").write_bytes(block * 2)
    (source / "sub/again.bin").write_bytes(block)
    (source / "empty").touch()
    report = await fetch(_release(source, store, "1"), StoreSource(store), tmp_path / "1")
    assert report.fetched_bytes == len(block) + 1
    assert (tmp_path / "1/files/twice.bin").read_bytes() == block * 2
    assert (tmp_path / "1/files/sub/again.bin").read_bytes() == block
    assert (tmp_path / "1/files/empty").read_bytes() == b""


async def test_a_full_disk_is_said_before_anything_is_fetched(tmp_path, store, release, monkeypatch):
    real = os.statvfs(tmp_path)
    small = os.statvfs_result([*real[:3], 1, 1, *real[5:]])
    monkeypatch.setattr("registry.release_directory.os.statvfs", lambda path: small)
    with pytest.raises(DiskFullError, match=rf"needs \d+ more bytes in .*, and {small.f_frsize} are free"):
        await fetch(release, StoreSource(store), tmp_path / "1")


async def test_a_disk_that_fills_up_on_the_way_keeps_what_arrived(
    tmp_path, model, store, release, monkeypatch
):
    real, calls = os.pwrite, []

    def full(descriptor, data, offset):
        calls.append(offset)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr("registry.release_directory.os.pwrite", full)
        with pytest.raises(DiskFullError, match="what has arrived is kept"):
            await fetch(release, StoreSource(store), tmp_path / "1", concurrency_count=1)
    report = await fetch(release, StoreSource(store), tmp_path / "1")
    assert report.resumed_bytes > 0
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from registry.fetch import fetch

store, target = Path(sys.argv[1]), Path(sys.argv[2])

class Files:
    name = "files"
    count = 0

    async def read_range(self, key, offset_bytes, length_bytes):
        self.count += 1
        if self.count == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        with (store / key).open("rb") as file:
            file.seek(offset_bytes)
            return file.read(length_bytes)

from registry.fetch import job as module
from registry.plan import plan_reads
module.plan_reads = lambda wanted: plan_reads(wanted, range_limit_bytes=1_000_000)
asyncio.run(fetch((store / "manifest").read_bytes(), Files(), target, concurrency_count=1))
"""


async def test_a_killed_process_loses_nothing_that_had_arrived(tmp_path, model, store, release):
    disk = tmp_path / "store"
    for info in store.list(PACKS):
        (disk / info.key).parent.mkdir(parents=True, exist_ok=True)
        (disk / info.key).write_bytes(store.get(info.key).data)
    (disk / "manifest").write_bytes(release)
    command = [sys.executable, "-c", _KILLED, str(disk), str(tmp_path / "1")]
    killed = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "1").exists()
    report = await fetch(release, StoreSource(store), tmp_path / "1")
    assert report.resumed_bytes > 1_000_000
    assert report.fetched_bytes + report.resumed_bytes < report.total_bytes * 1.05
    assert (tmp_path / "1/files/model.gguf").read_bytes() == model.read_bytes()


async def test_stale_partials_go_and_wanted_or_busy_ones_stay(tmp_path, store, release):
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def block(number, data):
        reached.set()
        await go_on.wait()
        return data

    for name in ("old", "kept"):
        (tmp_path / f".partial-{name}~0123456789abcdef/release").mkdir(parents=True)
    busy = asyncio.create_task(fetch(release, Meddling(store, block), tmp_path / "1"))
    await asyncio.wait_for(reached.wait(), 10)
    removed = remove_stale_partials(tmp_path, keep=[tmp_path / "kept"])
    assert [path.name for path in removed] == [".partial-old~0123456789abcdef"]
    assert len(_partials(tmp_path)) == 2
    go_on.set()
    await busy
    assert _partials(tmp_path) == [".partial-kept~0123456789abcdef"]
