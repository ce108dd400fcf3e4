"""A GGUF file is written as it was read, and changed only where it was said."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.writing import NewTensor, edited_fields, kept, new_field, plain, write_model
from registry.errors import FormatInvalidError
from tests.origin.build.toy_llama import ToyShape, toy_tensors


def test_copy_has_the_same_fields_and_tensors(toy, tmp_path):
    model = ModelFile(toy.model_file)
    write_model(tmp_path / "copy.gguf", edited_fields(model, {}), [kept(model, t.name) for t in model])
    ours, theirs = gguf.GGUFReader(tmp_path / "copy.gguf"), gguf.GGUFReader(toy.model_file)
    assert {k: f.contents() for k, f in ours.fields.items()} == {
        k: f.contents() for k, f in theirs.fields.items()
    }
    for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert (mine.name, mine.tensor_type) == (other.name, other.tensor_type)
        assert np.array_equal(mine.data, other.data)


def test_fields_are_changed_added_and_left_out(toy, tmp_path):
    model = ModelFile(toy.model_file)
    fields = edited_fields(
        model,
        {
            "llama.block_count": 1,
            "tokenizer.ggml.tokens": ["a", "é"],
            "edgeward.note": "x",
            "edgeward.list": [1, 2],
        },
        frozenset({"general.license"}),
    )
    write_model(tmp_path / "new.gguf", fields, [kept(model, "output_norm.weight", "other.weight")])
    found = gguf.GGUFReader(tmp_path / "new.gguf").fields
    assert found["llama.block_count"].contents() == 1
    assert found["llama.block_count"].types == [gguf.GGUFValueType.UINT32]
    assert found["tokenizer.ggml.tokens"].contents() == ["a", "é"]
    assert found["edgeward.note"].contents() == "x"
    assert found["edgeward.list"].contents() == [1, 2]
    assert "general.license" not in found
    assert ModelFile(tmp_path / "new.gguf").array("tokenizer.ggml.tokens") == ["a", "é"]


def test_a_list_of_truth_values_is_read_and_stays_one(tmp_path):
    # As gemma3's sliding_window_pattern.
    writer = gguf.GGUFWriter(tmp_path / "old.gguf", "toy")
    writer.add_array("toy.pattern", [True, False, True])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    model = ModelFile(tmp_path / "old.gguf")
    assert model.array("toy.pattern").tolist() == [True, False, True]
    write_model(
        tmp_path / "new.gguf", edited_fields(model, {"toy.pattern": model.array("toy.pattern")[1:]}), []
    )
    field = gguf.GGUFReader(tmp_path / "new.gguf").fields["toy.pattern"]
    assert field.contents() == [False, True]
    assert field.types == [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.BOOL]


def test_values_are_the_tensors(toy):
    model, wanted = ModelFile(toy.model_file), toy_tensors(ToyShape(), 0)
    assert set(model.tensors) == set(wanted)
    for name, value in wanted.items():
        assert np.array_equal(model.values(name), value.astype(np.float32))


def test_a_number_keeps_its_type():
    assert new_field("k", 3, 10)[-8:] == (3).to_bytes(8, "little")


def test_wrong_content_is_refused(tmp_path):
    tensor = NewTensor("w.weight", (32, 2), "Q4_0", lambda: np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match=r"w\.weight has 5 bytes instead of 36"):
        write_model(tmp_path / "x.gguf", [], [tensor])


def test_plain_stores_matrices_half_and_vectors_whole():
    assert plain("m", (2, 32), lambda: np.zeros((2, 32))).element == "F16"
    assert plain("v", (32,), lambda: np.zeros(32)).element == "F32"


def test_what_is_missing_is_named(toy):
    model = ModelFile(toy.model_file)
    for ask in (lambda: model.values("nope"), lambda: model.number("nope"), lambda: model.array("nope")):
        with pytest.raises(FormatInvalidError, match="nope"):
            ask()
