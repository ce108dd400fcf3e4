import itertools
import os
import random
import threading
import tracemalloc
from pathlib import Path

import pytest

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import (
    ArtifactError,
    FormatInvalidError,
    InputInvalidError,
    KeyUnusableError,
    PreconditionFailedError,
    ReleaseConflictError,
    StoreUnavailableError,
)
from registry.layout import PACKS
from registry.manifest import decode_manifest, encode_manifest, manifest_digest
from registry.publish import publish
from registry.store.memory import MemoryStore
from registry.trust.ceremony import begin
from registry.trust.in_memory import signed_in_memory
from registry.trust.keys import KeysInMemory
from registry.trust.signed_store import SignedStore


@pytest.fixture
def model(tmp_path, gguf_bytes):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes())
    return path


def _publish(path, store, version="1", **settings):
    return publish(
        path, **{"name": "chat", "version": version, "store": store, "created_unix_s": 5, **settings}
    )


def _stored(store):
    """What publishes have left; the first root is made public by whoever tries first."""
    return {info.key: info.etag for info in store.list("")}


def _signing(inner, **settings):
    return signed_in_memory(inner, **settings)


def test_a_file_becomes_a_release(model, store):
    report = _publish(model, store, license_name="MIT")
    data, manifest = Catalog(store).manifest("chat", "1")
    assert (report.outcome, report.channel, report.total_bytes) == (
        "published",
        "stable",
        model.stat().st_size,
    )
    assert report.manifest_sha256 == manifest_digest(data)
    assert report.chunks_count == report.new_chunks_count == len(manifest.chunks)
    assert report.uploaded_bytes == len(data) + sum(pack.length_bytes for pack in manifest.packs)
    assert (manifest.kind, manifest.variants[0].name, manifest.license_name) == ("gguf", "f16", "MIT")
    assert [(file.path, file.sha256) for file in manifest.files] == [
        ("model.gguf", digest_of(model.read_bytes()))
    ]
    assert Catalog(store).channels("chat") == {"stable": "1"}


def test_the_same_again_changes_nothing(model, store):
    first = _publish(model, store)
    before = _stored(store)
    again = _publish(model, store, created_unix_s=99)
    assert (again.outcome, again.uploaded_bytes, again.channel) == ("unchanged", 0, "stable")
    assert again.manifest_sha256 == first.manifest_sha256
    assert _stored(store) == before


def test_the_same_again_moves_no_channel_but_sets_a_new_one(model, store, tmp_path):
    _publish(model, store, "1")
    other = tmp_path / "other.bin"
    other.write_bytes(b"other")
    _publish(other, store, "2")
    assert _publish(model, store, "1").channel is None
    assert Catalog(store).channels("chat") == {"stable": "2"}
    assert _publish(model, store, "1", channel="old").channel == "old"
    assert Catalog(store).channels("chat") == {"old": "1", "stable": "2"}


def test_a_publish_that_died_before_its_channel_is_mended_by_publishing_again(model, store, tmp_path):
    other = tmp_path / "other.bin"
    other.write_bytes(b"other")
    _publish(other, store, "1")
    _publish(model, store, "2", channel=None)  # all that was written before the end
    again = _publish(model, store, "2")
    assert (again.outcome, again.channel) == ("unchanged", "stable")
    assert Catalog(store).channels("chat") == {"stable": "2"}


def test_without_a_channel_none_is_made(model, store):
    assert _publish(model, store, channel=None).channel is None
    assert Catalog(store).channels("chat") == {}


def test_other_bytes_under_a_published_version_are_refused(model, store, gguf_bytes):
    _publish(model, store)
    before = _stored(store)
    model.write_bytes(gguf_bytes(template="another"))
    with pytest.raises(ReleaseConflictError, match="choose a new one"):
        _publish(model, store)
    assert _stored(store) == before


def test_an_edited_field_uploads_almost_nothing(model, store, gguf_bytes):
    whole = _publish(model, store)
    model.write_bytes(gguf_bytes(template="{{ another template }}" * 40))
    edited = _publish(model, store, "2")
    assert edited.new_chunks_count <= 2
    assert edited.uploaded_bytes < 3_000 < whole.uploaded_bytes


def test_other_names_share_chunks_too(model, store):
    _publish(model, store)
    copy = _publish(model, store, name="copy")
    assert copy.new_chunks_count == 0
    assert len(list(store.list(PACKS))) == 1


def test_what_someone_removed_from_the_store_is_stored_again(model, store):
    _publish(model, store)
    for info in list(store.list(PACKS)):
        store.delete(info.key)
    again = _publish(model, store, "2")
    assert again.new_chunks_count == again.chunks_count
    assert len(list(store.list(PACKS))) == 1


@pytest.mark.parametrize("named", ["here", "./here", "../beside/here", "."])
def test_a_directory_may_be_named_from_where_one_stands(tmp_path, store, monkeypatch, named):
    inner = tmp_path / "beside" / "here" / "inner"
    inner.mkdir(parents=True)
    (inner / "data.bin").write_bytes(b"some data")
    monkeypatch.chdir(inner.parent if named == "." else tmp_path / "beside")
    _publish(Path(named), store)
    _, manifest = Catalog(store).manifest("chat", "1")
    assert [file.path for file in manifest.files] == ["inner/data.bin"]


def test_a_directory_with_folders_hidden_files_and_an_empty_file(tmp_path, store, onnx_bytes):
    (tmp_path / "m/onnx").mkdir(parents=True)
    (tmp_path / "m/.git").mkdir()
    (tmp_path / "m/.git/config").write_text("hidden")
    (tmp_path / "m/.DS_Store").write_text("hidden")
    (tmp_path / "m/onnx/model.onnx").write_bytes(onnx_bytes())
    (tmp_path / "m/tokenizer.json").write_text("{}")
    (tmp_path / "m/empty.txt").touch()
    (tmp_path / "m/link.json").symlink_to("tokenizer.json")
    _publish(tmp_path / "m", store)
    _, manifest = Catalog(store).manifest("chat", "1")
    sizes = {file.path: file.size_bytes for file in manifest.files}
    assert sizes == {
        "empty.txt": 0,
        "link.json": 2,
        "onnx/model.onnx": len(onnx_bytes()),
        "tokenizer.json": 2,
    }
    assert (manifest.kind, manifest.abilities) == ("onnx", ("embedding",))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nothing", "no file or directory"),
        (lambda root: (root / "d").mkdir() or root / "d", "no files to publish"),
        (lambda root: (root / "d").mkdir() or (root / "d/e.txt").touch() or root / "d", "no bytes"),
        (
            lambda root: (root / "d").mkdir() or (root / "d/l").symlink_to("/etc/hostname") or root / "d",
            "leaves",
        ),
        (
            lambda root: (root / "d").mkdir() or (root / "d/l").symlink_to("gone") or root / "d",
            "link to nothing",
        ),
        (
            lambda root: (root / "d/s").mkdir(parents=True) or (root / "d/l").symlink_to("s") or root / "d",
            "directory",
        ),
        (lambda root: (root / "d").mkdir() or os.mkfifo(root / "d/pipe") or root / "d", "not a regular file"),
    ],
)
def test_what_cannot_be_published_is_refused(tmp_path, store, make, message):
    with pytest.raises(InputInvalidError, match=message):
        _publish(make(tmp_path), store)
    assert _stored(store) == {}


def test_damaged_models_are_refused_before_anything_is_stored(model, store):
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(FormatInvalidError, match=r"model\.gguf: truncated"):
        _publish(model, store)
    assert _stored(store) == {}


def test_an_onnx_file_without_its_weights_is_refused(tmp_path, store, onnx_bytes, protobuf_field):
    entry = protobuf_field(1, b"location") + protobuf_field(2, b"weights.bin")
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes(extra=protobuf_field(5, protobuf_field(1, 8) + protobuf_field(13, entry))))
    with pytest.raises(InputInvalidError, match=r"keeps weights in weights\.bin.*publish the directory"):
        _publish(path, store)


@pytest.mark.parametrize(
    "wrong", [{"name": "../up"}, {"version": "a b"}, {"channel": "Stable!"}, {"variant": "x" * 300}]
)
def test_wrong_names_are_refused(model, store, wrong):
    with pytest.raises(InputInvalidError):
        _publish(model, store, **wrong)
    assert _stored(store) == {}


def test_a_file_that_changes_while_it_is_read_is_refused(model, store, monkeypatch):
    monkeypatch.setattr("registry.packing.PACK_LIMIT_BYTES", 1)  # the first is stored before the last is read

    def meddle(progress):
        os.utime(model, ns=(1, 1))

    with pytest.raises(ArtifactError, match="was changed while it was published"):
        _publish(model, store, progress=meddle)
    assert Catalog(store).releases() == ()


def test_the_manifest_is_written_after_the_packs_and_the_timestamp_last(model):
    class Recording(MemoryStore):
        def __init__(self):
            super().__init__()
            self.writes = []

        def put_if_absent(self, key, data):
            self.writes.append(key)
            return super().put_if_absent(key, data)

        def put_if_match(self, key, data, etag):
            self.writes.append(key)
            return super().put_if_match(key, data, etag)

    store = Recording()
    signed = _signing(store)
    _publish(model, signed)
    files = ["1.root", "1.targets", "1.models", "1.snapshot", "timestamp"]
    words = [key.split("/")[0] if not key.startswith("tuf/") else key[4:-5] for key in store.writes]
    proofs = list(itertools.takewhile(lambda word: word == "probes", words))
    assert proofs, "an empty store proves its conditional writes before anything else is written"
    # The manifest a second time, so that it is young.
    assert words[len(proofs) :] == ["packs", "manifests", "manifests", *files]
    del store.writes[:]
    _publish(model, signed, "2")
    words = [key.split("/")[0] if not key.startswith("tuf/") else key[4:-5] for key in store.writes]
    assert words == ["manifests", "deltas", "manifests", "2.models", "2.snapshot", "timestamp"]


def test_a_publish_that_was_cut_off_is_finished_by_the_next(model):
    class Breaking(MemoryStore):
        broken = True

        def put_if_absent(self, key, data):
            if self.broken and key.startswith("manifests/"):
                raise StoreUnavailableError("gone")
            return super().put_if_absent(key, data)

    breaking = Breaking()
    store = _signing(breaking)
    with pytest.raises(StoreUnavailableError):
        _publish(model, store)
    assert Catalog(store).releases() == ()
    breaking.broken = False
    report = _publish(model, store)
    assert (report.outcome, report.channel) == ("published", "stable")
    assert len(list(store.list(PACKS))) == 1


@pytest.mark.parametrize("same", [True, False])
def test_a_race_for_a_version_has_one_winner(model, store, same, tmp_path, gguf_bytes):
    other = tmp_path / "other" / "model.gguf"
    other.parent.mkdir()
    other.write_bytes(gguf_bytes(template="mine" if not same else "{{ messages }}"))

    class Racing(MemoryStore):
        raced = False

        def put_if_absent(self, key, data):
            if key.startswith("manifests/chat/1.") and not self.raced:
                self.raced = True
                _publish(other, racing, created_unix_s=4)
            return super().put_if_absent(key, data)

    racing = _signing(Racing())
    if same:
        assert _publish(model, racing).outcome == "unchanged"
    else:
        with pytest.raises(ReleaseConflictError):
            _publish(model, racing)
    assert Catalog(racing).manifest("chat", "1")[1].created_unix_s == 4


def test_our_own_write_whose_answer_was_lost_counts_as_ours(model):
    class Forgetful(MemoryStore):
        def put_if_absent(self, key, data):
            return super().put_if_absent(key, data) and not key.startswith(("manifests/", "tuf/"))

        def put_if_match(self, key, data, etag):
            super().put_if_match(key, data, etag)
            raise PreconditionFailedError("the first try did it, and its answer was lost")

    assert _publish(model, _signing(Forgetful())).outcome == "published"


def test_the_same_input_gives_the_same_bytes(model):
    keys = KeysInMemory()
    begin(keys, now_unix_s=1_000)
    stores = [_signing(MemoryStore(), keys=keys, now_unix_s=lambda: 2_000) for _ in range(2)]
    for store in stores:
        _publish(model, store)
    assert _stored(stores[0]) == _stored(stores[1])
    data, _ = Catalog(stores[0]).manifest("chat", "1")
    assert encode_manifest(decode_manifest(data)) == data


def test_repeated_chunks_are_stored_once_and_packs_are_bounded(tmp_path, store, monkeypatch):
    monkeypatch.setattr("registry.packing.PACK_LIMIT_BYTES", 9_000_000)
    block = random.Random(1).randbytes(4 << 20)
    path = tmp_path / "f.bin"
    path.write_bytes(block * 3 + random.Random(2).randbytes(12 << 20))
    report = _publish(path, store)
    assert (report.chunks_count, report.new_chunks_count) == (4, 4)
    assert [info.length_bytes for info in store.list(PACKS)] == [2 * ((4 << 20) + 1)] * 2


def test_memory_is_bounded_by_packs_not_by_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr("registry.packing.PACK_LIMIT_BYTES", 8 << 20)

    class Sink(MemoryStore):
        def put_if_absent(self, key, data):
            return super().put_if_absent(key, b"" if key.startswith("packs/") else data)

    path = tmp_path / "f.bin"
    with path.open("wb") as file:
        for seed in range(48):
            file.write(random.Random(seed).randbytes(4 << 20))
    tracemalloc.start()
    try:
        _publish(path, _signing(Sink()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 96 << 20  # a file of 192 MiB; how many chunks are under way at once is the threads' luck


def test_progress_reaches_the_total(model, store):
    seen = []
    _publish(model, store, progress=seen.append)
    assert (seen[-1].done_bytes, seen[-1].total_bytes) == (model.stat().st_size, model.stat().st_size)
    assert [step.done_bytes for step in seen] == sorted(step.done_bytes for step in seen)


def test_progress_counts_what_the_store_has_acknowledged(tmp_path, monkeypatch):
    class Listening(MemoryStore):
        held_bytes = 0

        def put_if_absent(self, key, data):
            written = super().put_if_absent(key, data)
            with guard:
                self.held_bytes += len(data) * key.startswith(PACKS)
            return written

    def hear(step):
        with guard:
            seen.append((step.done_bytes, inner.held_bytes))

    monkeypatch.setattr("registry.packing.PACK_LIMIT_BYTES", 9 << 20)  # packs of two chunks
    guard, seen, inner = threading.Lock(), [], Listening()
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(1).randbytes(40 << 20))
    _publish(path, _signing(inner), progress=hear)
    assert all(done <= held for done, held in seen)  # nothing in it gets smaller
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert (len(seen), seen[-1][0]) == (5, 40 << 20)


def test_without_the_keys_nothing_is_read_and_nothing_written(model, store):
    with pytest.raises(KeyUnusableError):
        _publish(model, SignedStore(store.reader))
    with pytest.raises(InputInvalidError, match="edgeward keys delegate other"):
        _publish(model, store, name="other/chat")
    assert _stored(store) == {}
