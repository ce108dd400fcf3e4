"""Making a release with prefixes: what is refused before a model is loaded."""

import pytest

from edge_node.engines.prefill import with_prefixes
from registry.errors import InputInvalidError


def test_one_gguf_model_is_needed(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(InputInvalidError, match="needs one GGUF"), with_prefixes(tmp_path, []):
        pass


def test_the_prompt_must_be_text_and_nothing_stays_behind(tmp_path):
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    prompt = tmp_path / "system.txt"
    prompt.write_bytes(b"\xff\xfe")
    for missing in (prompt, tmp_path / "nowhere.txt"):
        with pytest.raises(InputInvalidError, match="cannot read"), with_prefixes(model, [missing]):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.gguf", "system.txt"]


def test_the_model_s_files_are_there_without_a_copy(tmp_path):
    folder = tmp_path / "release"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"GGUF")
    (folder / "deep" / "notes.txt").write_bytes(b"hello")
    with with_prefixes(folder, []) as root:
        files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        assert files == ["deep/notes.txt", "model.gguf"]
        assert (root / "model.gguf").samefile(folder / "model.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
