"""Replacing a chat template: the file stays a valid GGUF, and its tensors keep every byte."""

from __future__ import annotations

import struct

import pytest

from origin.build.retemplate import replace_chat_template
from registry.errors import FormatInvalidError, InputInvalidError
from registry.formats.gguf import read_header

TENSOR = bytes(range(256)) * 4  # 256 f32 values


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def string_field(key, value):
    return text(key) + struct.pack("<I", 8) + text(value)


def write_gguf(path, template, alignment=32):
    fields = [string_field("general.architecture", "llama")]
    fields.append(text("general.alignment") + struct.pack("<II", 4, alignment))
    if template is not None:
        fields.append(string_field("tokenizer.chat_template", template))
    infos = text("token_embd.weight") + struct.pack("<IQIQ", 1, 256, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(fields)) + b"".join(fields) + infos
    path.write_bytes(head + bytes(-len(head) % alignment) + TENSOR)
    return path


def tensors_of(path):
    with path.open("rb") as file:
        header = read_header(file, path.stat().st_size)
        file.seek(header.data_start)
        return header, file.read()


@pytest.mark.parametrize("alignment", [32, 64])
@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 5000])
def test_the_template_changes_and_the_tensors_do_not(tmp_path, length, alignment):
    source = write_gguf(tmp_path / "a.gguf", "{{ old }}", alignment)
    target = tmp_path / "b.gguf"
    seen = []
    replace_chat_template(source, target, lambda old: seen.append(old) or "x" * length)
    header, data = tensors_of(target)
    assert seen == ["{{ old }}"]
    field = header.field("tokenizer.chat_template")
    assert field.end - field.start - 8 == length
    assert header.data_start % alignment == 0
    assert data == TENSOR
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf", "b.gguf"]


def test_the_same_template_gives_the_same_bytes(tmp_path):
    source = write_gguf(tmp_path / "a.gguf", "{{ old }}")
    replace_chat_template(source, tmp_path / "b.gguf", lambda old: old)
    assert (tmp_path / "b.gguf").read_bytes() == source.read_bytes()


def test_a_file_without_a_template_is_refused(tmp_path):
    source = write_gguf(tmp_path / "a.gguf", None)
    with pytest.raises(FormatInvalidError, match="no chat template"):
        replace_chat_template(source, tmp_path / "b.gguf", str)
    assert not (tmp_path / "b.gguf").exists()


def test_the_source_is_never_overwritten(tmp_path):
    source = write_gguf(tmp_path / "a.gguf", "{{ old }}")
    before = source.read_bytes()
    with pytest.raises(InputInvalidError):
        replace_chat_template(source, source, lambda _old: "new")
    assert source.read_bytes() == before


def test_a_failing_edit_leaves_nothing_behind(tmp_path):
    source = write_gguf(tmp_path / "a.gguf", "{{ old }}")

    def refuse(_old):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        replace_chat_template(source, tmp_path / "b.gguf", refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]
