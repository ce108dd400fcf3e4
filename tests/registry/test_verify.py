import pytest

from registry.catalog import Catalog
from registry.errors import InputInvalidError, ManifestInvalidError
from registry.fetch import StoreSource, fetch
from registry.publish import publish
from registry.verify import DamagedFile, verify


@pytest.fixture
async def installed(tmp_path, store, gguf_bytes):
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.gguf").write_bytes(gguf_bytes())
    (source / "notes.txt").write_text("notes")
    publish(source, name="chat", version="1", store=store, created_unix_s=1)
    await fetch(Catalog(store).manifest("chat", "1")[0], StoreSource(store), tmp_path / "1")
    return tmp_path / "1"


async def test_a_fetched_release_is_whole(installed):
    steps = []
    report = verify(installed, steps.append)
    assert report.whole
    assert (report.name, report.version, report.ok) == ("chat", "1", ("model.gguf", "notes.txt"))
    assert steps[-1].done_bytes == steps[-1].total_bytes == report.total_bytes


async def test_damage_is_counted_in_chunks(installed):
    path = installed / "files/model.gguf"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    data[-5] ^= 1
    path.write_bytes(data)
    (installed / "files/notes.txt").unlink()
    report = verify(installed)
    assert not report.whole
    assert report.damaged == (DamagedFile("model.gguf", 2),)
    assert (report.ok, report.missing) == ((), ("notes.txt",))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
async def test_files_of_other_lengths_are_damaged(installed, change):
    path = installed / "files/model.gguf"
    path.write_bytes(change(path.read_bytes()))
    assert [file.path for file in verify(installed).damaged] == ["model.gguf"]


async def test_no_release_and_a_damaged_manifest_are_named(installed, tmp_path):
    with pytest.raises(InputInvalidError, match="holds no release"):
        verify(tmp_path)
    (installed / "manifest.eaf").write_bytes(b"EAF1junk")
    with pytest.raises(ManifestInvalidError):
        verify(installed)
