import itertools
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import FormatInvalidError, InputInvalidError
from registry.formats import inspect


def _write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def _tile(spans, size):
    assert spans[0].start_bytes == 0
    assert spans[-1].end_bytes == size
    assert all(a.end_bytes == b.start_bytes for a, b in itertools.pairwise(spans))


def test_safetensors(tmp_path, safetensors_bytes):
    data = safetensors_bytes()
    found = inspect(_write(tmp_path, "m.safetensors", data))
    assert (found.kind, found.quantization, found.parameter_count) == ("safetensors", "F16", 512 * 256 + 16)
    assert [span.row_bytes for span in found.spans[1:]] == [512, 64]
    _tile(found.spans, len(data))


def test_onnx(tmp_path, onnx_bytes):
    data = onnx_bytes()
    found = inspect(_write(tmp_path, "m.onnx", data))
    assert (found.kind, found.quantization, found.architecture) == ("onnx", "INT8", "bert")
    assert found.parameter_count == 512 * 256 + 4
    large = next(span for span in found.spans if span.element == "INT8")
    assert (large.length_bytes, large.row_bytes) == (512 * 256, 256)
    _tile(found.spans, len(data))


def test_onnx_names_the_files_that_hold_its_weights(tmp_path, onnx_bytes, protobuf_field):
    entry = protobuf_field(1, b"location") + protobuf_field(2, b"m.onnx.data")
    weight = protobuf_field(1, 8) + protobuf_field(2, 1) + protobuf_field(13, entry) + protobuf_field(14, 1)
    found = inspect(_write(tmp_path, "m.onnx", onnx_bytes(extra=protobuf_field(5, weight))))
    assert found.companions == ("m.onnx.data",)


def test_other_files_are_plain(tmp_path):
    assert inspect(_write(tmp_path, "tokenizer.json", b"{}")).kind == "file"
    assert inspect(_write(tmp_path, "empty.txt", b"")).spans == ()


def test_gguf_is_known_by_its_magic_under_any_name(tmp_path, gguf_bytes):
    assert inspect(_write(tmp_path, "sha256-0123", gguf_bytes())).kind == "gguf"


@pytest.mark.parametrize("name", ["m.gguf", "m.onnx", "m.safetensors", "M.GGUF"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"These are the notes that I took about models.\n" * 9, "not an? .*file"),
    ],
)
def test_what_is_no_model_is_refused_by_name(tmp_path, name, data, message):
    with pytest.raises(FormatInvalidError, match=message) as refused:
        inspect(_write(tmp_path, name, data))
    assert refused.value.message.startswith(f"{name}: ")


def test_truncated_safetensors_says_both_sizes(tmp_path, safetensors_bytes):
    data = safetensors_bytes()
    with pytest.raises(FormatInvalidError, match=f"need {len(data)} bytes, but the file has {len(data) - 1}"):
        inspect(_write(tmp_path, "m.safetensors", data[:-1]))
    with pytest.raises(FormatInvalidError, match="bytes after its last tensor"):
        inspect(_write(tmp_path, "m.safetensors", data + b"x"))


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [2]},
    ],
)
def test_safetensors_that_contradict_themselves(tmp_path, tensor):
    import json

    header = json.dumps({"w": tensor}).encode()
    with pytest.raises(FormatInvalidError, match="damaged"):
        inspect(_write(tmp_path, "m.safetensors", struct.pack("<Q", len(header)) + header + bytes(8)))


def test_truncated_onnx_is_refused(tmp_path, onnx_bytes):
    data = onnx_bytes()
    with pytest.raises(
        FormatInvalidError, match=rf"truncated ONNX file: .* the file has only {len(data) // 2} bytes"
    ):
        inspect(_write(tmp_path, "m.onnx", data[: len(data) // 2]))


def test_onnx_weight_that_does_not_fit_its_shape(tmp_path, onnx_bytes):
    with pytest.raises(FormatInvalidError, match="needs 131072"):
        inspect(_write(tmp_path, "m.onnx", onnx_bytes(length=100)))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_escape_as_another_error(tmp_path, onnx_bytes, safetensors_bytes, data):
    name, blob = data.draw(
        st.sampled_from(
            [
                ("m.onnx", onnx_bytes(dims=(8, 8))),
                ("m.safetensors", safetensors_bytes({"a": ("F16", [4], 8), "b": ("I8", [3], 3)})),
            ]
        )
    )
    damaged = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = _write(tmp_path, name, bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    try:
        found = inspect(path)
    except FormatInvalidError:
        return
    _tile(found.spans, path.stat().st_size)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputInvalidError, match=r"nothing\.gguf"):
        inspect(tmp_path / "nothing.gguf")
