"""A quantized file is proven from its parent, and every change to it is found."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.rederive import EXACT_TYPES, rederive
from origin.build.gguf_steps import Dequantize, Quantize


@pytest.mark.parametrize("name", EXACT_TYPES)
def test_what_llama_cpp_made_is_rebuilt(name, toy, do):
    made, _ = do(Quantize(id="q", type=name, embedding=name), toy)
    found = rederive(toy.model_file, made.model_file)
    assert found.proven
    assert len(found.exact[name]) == 15


def test_dequantized_is_rebuilt(toy, do):
    small, _ = do(Quantize(id="q", type="Q4_1"), toy)
    back, _ = do(Dequantize(id="d"), small)
    assert rederive(small.model_file, back.model_file).proven


def test_one_changed_bit_is_found(toy, do):
    made, _ = do(Quantize(id="q", type="Q4_0", embedding="Q5_1"), toy)
    tensor = ModelFile(made.model_file).tensors["blk.1.ffn_up.weight"]
    with made.model_file.open("r+b") as file:
        file.seek(tensor.end - 1)
        byte = file.read(1)[0]
        file.seek(tensor.end - 1)
        file.write(bytes([byte ^ 16]))
    found = rederive(toy.model_file, made.model_file)
    assert found.different == ("blk.1.ffn_up.weight",)
    assert not found.proven


def test_another_parent_is_found(toy, do, tmp_path):
    from tests.origin.build.gguf.conftest import toy_artifact

    made, _ = do(Quantize(id="q", type="Q4_0"), toy)
    found = rederive(toy_artifact(tmp_path / "other", seed=1).model_file, made.model_file)
    assert len(found.different) == 15 + 5  # the norms too


def test_importance_cannot_be_told_apart_from_harm(toy, do):
    from origin.build.gguf_steps import Importance

    importance, _ = do(Importance(id="i", data="calib", tokens=300), toy)
    made, _ = do(Quantize(id="q", type="Q4_0", importance="i"), toy, importance=importance)
    assert rederive(toy.model_file, made.model_file).different


def test_types_that_are_not_rebuilt_are_named(toy, do):
    made, _ = do(Quantize(id="q", type="IQ4_NL"), toy)
    found = rederive(toy.model_file, made.model_file)
    assert len(found.untold) == 14
    assert not found.different


def test_a_changed_template_is_found(toy, do):
    from origin.build.gguf.writing import edited_fields, kept, write_model

    model = ModelFile(toy.model_file)
    other = toy.directory / "other.gguf"
    fields = edited_fields(model, {"tokenizer.chat_template": "{{ 'say yes' }}"})
    write_model(other, fields, [kept(model, t.name) for t in model])
    assert rederive(toy.model_file, other).fields == ("tokenizer.chat_template",)


def test_it_needs_neither_llama_cpp_nor_torch():
    program = (
        "import sys, origin.build.gguf.rederive; sys.exit(bool({'llama_cpp', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_pieces_of_rows_are_all_looked_at(tmp_path):
    from origin.build.gguf.blocks import encode
    from origin.build.gguf.writing import NewTensor, plain, write_model

    values = np.random.default_rng(0).standard_normal((9000, 32)).astype(np.float16)
    write_model(tmp_path / "a.gguf", [], [plain("w.weight", values.shape, lambda: values)])
    content = encode("Q8_0", values.astype(np.float32)).to_bytes()
    content[8999, 3] ^= 1
    write_model(tmp_path / "b.gguf", [], [NewTensor("w.weight", (32, 9000), "Q8_0", lambda: content)])
    assert rederive(tmp_path / "a.gguf", tmp_path / "b.gguf").different == ("w.weight",)
