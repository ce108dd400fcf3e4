import io
import itertools
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import FormatInvalidError
from registry.formats import inspect
from registry.formats.gguf import read_header


def _header(data):
    return read_header(io.BytesIO(data), len(data))


def test_describes_a_chat_model(tmp_path, gguf_bytes):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes())
    found = inspect(path)
    assert (found.kind, found.architecture, found.quantization, found.context_tokens) == (
        "gguf",
        "llama",
        "F16",
        2048,
    )
    assert found.parameter_count == 576 * 8000 + 576 + 100 + 576 * 200
    assert found.has_chat_template
    assert found.abilities == ("chat", "completion")


def test_spans_are_contiguous_and_follow_fields_and_tensors(tmp_path, gguf_bytes):
    data = gguf_bytes()
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    spans = inspect(path).spans
    assert spans[0].start_bytes == 0
    assert spans[-1].end_bytes == len(data)
    assert all(a.end_bytes == b.start_bytes for a, b in itertools.pairwise(spans))
    header = _header(data)
    assert {(t.start, t.row_bytes) for t in header.tensors} <= {(s.start_bytes, s.row_bytes) for s in spans}
    infos = next(span for span in spans if span.start_bytes == header.tensor_infos.start_bytes)
    assert infos.alone


def test_a_field_can_be_replaced_by_its_spans(gguf_bytes):
    before = gguf_bytes(template="old")
    header = _header(before)
    field = header.field("tokenizer.chat_template")
    text = b"a longer new template" * 5
    start = (
        before[: field.start]
        + struct.pack("<Q", len(text))
        + text
        + before[field.end : header.tensor_infos.end_bytes]
    )
    after = start + bytes(-len(start) % header.alignment) + before[header.data_start :]
    assert after == gguf_bytes(template=text.decode())
    assert _header(after).text("tokenizer.chat_template") == text.decode()


def test_alignment_other_than_32(gguf_bytes):
    header = _header(gguf_bytes(alignment=4096))
    assert header.alignment == 4096
    assert header.data_start % 4096 == 0
    assert all((tensor.start - header.data_start) % 4096 == 0 for tensor in header.tensors)


def test_quantization_without_a_file_type_is_the_majority(tmp_path, gguf_bytes):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes({"general.file_type": 999}))
    assert inspect(path).quantization == "Q8_0"


def test_an_embedding_model_says_so(tmp_path, gguf_bytes):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes({"llama.pooling_type": 1}))
    assert inspect(path).abilities == ("embedding",)


def test_a_tensor_type_from_the_future_reaches_to_the_next(gguf_bytes):
    tensors = {"a": ((64,), 250, 96), "b": ((4,), 0, 16)}
    first, second = _header(gguf_bytes(tensors=tensors)).tensors
    assert (first.element, first.end) == ("type250", second.start)


def test_arrays_of_arrays_are_skipped(gguf_bytes):
    inner = struct.pack("<IQ", 4, 2) + struct.pack("<II", 1, 2)
    nested = struct.pack("<IIQ", 9, 9, 3) + inner * 3
    header = _header(gguf_bytes({"x.nested": nested, "x.after": "here"}))
    assert header.text("x.after") == "here"


def test_truncated_data_says_how_many_bytes_are_missing(gguf_bytes):
    data = gguf_bytes()
    with pytest.raises(
        FormatInvalidError, match=rf"need {len(data)} bytes, but the file has {len(data) - 10} \(10 are"
    ):
        _header(data[:-10])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello, I am text" * 10, "not a GGUF file"),
        (b"GGUF", "truncated GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "announces 1099511627776 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40), "header fields"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60) + b"x" * 64, "claims"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 1 << 62), "truncated"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 1 << 62), "truncated"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77), "unknown type 77"),
    ],
)
def test_lying_headers_are_refused(data, message):
    with pytest.raises(FormatInvalidError, match=message):
        _header(data)


def test_overlapping_and_unaligned_tensors_are_refused(gguf_bytes):
    with pytest.raises(FormatInvalidError, match="overlap"):
        _header(gguf_bytes(tensors={"a": ((64,), 0, 32), "b": ((4,), 0, 256)}))
    with pytest.raises(FormatInvalidError, match="multiple of 32"):
        _header(gguf_bytes(tensors={"a": ((33,), 8, 64)}))
    data = gguf_bytes({"general.alignment": 3})
    with pytest.raises(FormatInvalidError, match="not a power of two"):
        _header(data)


def test_a_model_without_architecture_is_refused(tmp_path, gguf_bytes):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": 7}))
    with pytest.raises(FormatInvalidError, match=r"m\.gguf: .*general\.architecture"):
        inspect(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_headers_never_escape_as_another_error(gguf_bytes, data):
    tensors = {"t": ((32, 2), 8, 68), "u": ((4,), 0, 16)}
    blob = bytearray(gguf_bytes({"tokenizer.tokens": ["a", "bc"]}, tensors))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(blob)))
    try:
        header = _header(bytes(blob[:cut]))
    except FormatInvalidError:
        return
    assert all(0 <= tensor.start <= tensor.end <= cut for tensor in header.tensors)


def test_a_vocabulary_without_tensors_is_a_model_file(tmp_path, gguf_bytes):
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(gguf_bytes(tensors={}))
    found = inspect(path)
    assert (found.kind, found.parameter_count) == ("gguf", 0)
    assert found.spans[-1].end_bytes == path.stat().st_size
