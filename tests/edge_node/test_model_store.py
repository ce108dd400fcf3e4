from __future__ import annotations

import multiprocessing
import os
import shutil
from hashlib import sha256

import pytest

from edge_node.model_store import ModelStore, Remembered, prefix_directory
from origin.api import WantedRelease
from registry.errors import ArtifactError, ConfigError, InputInvalidError
from registry.fetch import fetch


@pytest.fixture
def store(tmp_path):
    store = ModelStore(tmp_path / "node").open()
    yield store
    store.close()


@pytest.fixture
def put(store, scripted_origin):
    """Installs a release in the store for real; returns its directory."""

    async def put(name, version, chunks=(b"a" * 1000, b"b" * 500), kind="gguf"):
        scripted_origin.publish(name, version, list(chunks), kind=kind)
        target = store.path(name, version)
        await fetch(scripted_origin.manifests[name, version], scripted_origin, target)
        return target

    return put


async def test_installed_releases_are_found_by_name_and_version(store, put):
    directory = await put("team/chat", "1.2.0")
    await put("embed", "2", kind="onnx")
    assert directory.relative_to(store.data_dir).as_posix() == "models/team~chat/1.2.0"
    embed, chat = store.installed()
    assert (chat.name, chat.version, chat.kind, chat.files, chat.total_bytes) == (
        "team/chat", "1.2.0", "gguf", ("model.gguf",), 1500,
    )  # fmt: skip
    assert (embed.name, embed.kind) == ("embed", "onnx")
    assert (chat.files_dir / "model.gguf").stat().st_size == 1500
    assert store.inspect("team/chat", "1.2.0") == chat


@pytest.mark.parametrize("damage", ["truncate", "delete", "manifest", "link", "empty"])
async def test_a_release_that_is_not_whole_is_thrown_away_and_the_others_stay(store, put, damage):
    directory = await put("chat", "1")
    await put("chat", "2")
    file = directory / "files" / "model.gguf"
    if damage == "truncate":
        os.truncate(file, 10)
    elif damage == "delete":
        file.unlink()
    elif damage == "manifest":
        (directory / "manifest.eaf").write_bytes(b"no manifest")
    elif damage == "link":
        file.rename(file.with_name("elsewhere"))
        file.symlink_to("elsewhere")
    else:
        shutil.rmtree(directory)
        directory.mkdir()
    assert [release.version for release in store.installed()] == ["2"]
    assert not directory.exists()
    assert list((store.data_dir / "trash").iterdir()) == []


async def test_a_release_under_another_name_is_not_believed(store, put):
    directory = await put("chat", "1")
    directory.rename(directory.with_name("2"))
    assert store.installed() == ()


async def test_fetches_under_way_are_not_releases_and_stay(store, put):
    partial = store.path("chat", "1").parent / ".partial-1~0123456789abcdef"
    partial.mkdir(parents=True)
    await put("chat", "2")
    assert [release.version for release in store.installed()] == ["2"]
    store.discard_partial({("chat", "1")})
    assert partial.is_dir()
    store.discard_partial({("chat", "2")})
    assert not partial.exists()


async def test_removal_leaves_nothing_and_is_no_error_twice(store, put):
    await put("chat", "1")
    assert store.used_bytes() > 1500
    store.remove("chat", "1")
    store.remove("chat", "1")
    assert store.installed() == ()
    assert store.used_bytes() == 0
    assert store.free_bytes() > 0


async def test_a_repair_that_a_crash_broke_off_leaves_nothing_over_the_next_start(store, put):
    await put("chat", "1")
    left = store.path("chat", "1").parent / ".mending-1"
    (left / "files").mkdir(parents=True)
    store.close()
    store.open()
    assert not left.exists()
    assert [release.version for release in store.installed()] == ["1"]


async def test_a_removal_that_a_crash_broke_off_is_finished_at_the_next_start(store, put):
    directory = await put("chat", "1")
    store.close()
    (store.data_dir / "trash" / "tmp1").mkdir()
    directory.rename(store.data_dir / "trash" / "tmp1" / "discarded")
    reopened = ModelStore(store.data_dir).open()
    assert list((store.data_dir / "trash").iterdir()) == []
    reopened.close()


@pytest.mark.parametrize(
    ("name", "version"), [("../x", "1"), ("chat", "../1"), ("chat", ".partial-1"), ("a/b/c", "1")]
)
def test_no_name_leads_out_of_the_store(store, name, version):
    with pytest.raises(InputInvalidError):
        store.path(name, version)


async def test_a_manifest_of_the_same_content_can_replace_the_one_here(store, put, scripted_origin):
    await put("chat", "1")
    before = store.inspect("chat", "1")
    wanted = scripted_origin.publish("chat", "1", [b"a" * 1000, b"b" * 500], created_unix_s=1_800_000_000)
    store.replace_manifest("chat", "1", scripted_origin.manifests["chat", "1"])
    after = store.inspect("chat", "1")
    assert after.manifest_sha256 == wanted.manifest_sha256 != before.manifest_sha256
    assert after.content_sha256 == before.content_sha256


def test_what_is_absent_cannot_be_inspected(store):
    with pytest.raises(ArtifactError, match="chat@1"):
        store.inspect("chat", "1")


def test_two_nodes_cannot_share_a_directory_and_the_error_names_the_other(store):
    with pytest.raises(ConfigError, match=rf"process {os.getpid()}\b"):
        ModelStore(store.data_dir).open()
    store.close()
    ModelStore(store.data_dir).open().close()


def _hold(data_dir, held):
    ModelStore(data_dir).open()
    held.set()
    held.wait(0)
    os.kill(os.getpid(), 9)


def test_the_lock_of_a_killed_node_is_gone_by_itself(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert (tmp_path / "node.lock").read_text().strip() == str(process.pid)
    ModelStore(tmp_path).open().close()


def test_a_lock_with_no_room_for_its_owners_name_is_a_lock(tmp_path):
    (tmp_path / "node.lock").symlink_to("/dev/full")
    ModelStore(tmp_path).open().close()


async def test_a_removal_makes_no_new_directory(store, put, monkeypatch):
    """A full disk may have no room for one, and a removal is what makes room."""
    await put("chat", "1")
    monkeypatch.setattr("os.mkdir", lambda *_: pytest.fail("a directory was made"))
    store.remove("chat", "1")
    assert store.used_bytes() == 0


def test_a_file_among_the_releases_is_thrown_away(store):
    stray = store.path("chat", "1")
    stray.parent.mkdir()
    stray.write_bytes(b"x")
    assert store.installed() == ()
    assert list((store.data_dir / "trash").iterdir()) == []


def test_a_directory_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="data_dir"):
        ModelStore(tmp_path / "file" / "node").open()


def test_what_must_last_lasts(store):
    assert store.recall() == Remembered()
    remembered = Remembered(wanted=(WantedRelease("chat", "2", "0" * 64),), served={"chat": ("2", "1")})
    store.remember(remembered)
    assert ModelStore(store.data_dir).recall() == remembered


def test_a_damaged_memory_is_no_memory(store):
    (store.data_dir / "active.json").write_bytes(b'{"served": 3}')
    assert store.recall() == Remembered()


async def test_prefixes_go_with_their_release_and_files_have_their_digests(store, put):
    kept, gone = await put("chat", "1.0.0"), await put("chat", "2.0.0", chunks=(b"c" * 9,))
    for directory in (kept, gone):
        prefix_directory(store.prefixes, directory).mkdir(parents=True)
    store.remove("chat", "2.0.0")
    assert [path.name for path in (store.prefixes / "chat").iterdir()] == ["1.0.0"]
    (release,) = store.installed()
    digests = [sha256((kept / "files" / file).read_bytes()).hexdigest() for file in release.files]
    assert list(release.files_sha256) == digests
