"""What is refused before any training."""

import numpy as np
import pytest

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.writing import NewTensor, edited_fields, kept, plain, write_model
from origin.build.llama.shape import read_shape
from origin.errors import RecipeInvalidError


def edited(toy, path, changes=None, without=(), more=()):
    model = ModelFile(toy.model_file)
    tensors: list[NewTensor] = [kept(model, tensor.name) for tensor in model if tensor.name not in without]
    write_model(path, edited_fields(model, changes or {}), [*tensors, *more])
    return ModelFile(path)


def test_the_toy_says_its_shape(toy):
    shape = read_shape(ModelFile(toy.model_file))
    assert (shape.layers_count, shape.width, shape.heads_count, shape.kv_heads_count) == (2, 64, 4, 2)
    assert (shape.rope_base, shape.output) == (10000.0, "token_embd.weight")
    assert shape.norm_epsilon == pytest.approx(1e-5)
    assert set(shape.tensor_names) == set(ModelFile(toy.model_file).tensors)


def test_an_output_layer_of_its_own_is_used(toy, tmp_path):
    values = np.zeros((319, 64), np.float32)
    model = edited(toy, tmp_path / "m.gguf", more=[plain("output.weight", values.shape, lambda: values)])
    assert read_shape(model).output == "output.weight"


def test_another_architecture_is_refused(toy, tmp_path):
    model = edited(toy, tmp_path / "m.gguf", {"general.architecture": "qwen2"})
    with pytest.raises(
        RecipeInvalidError, match=r"llama family can be trained here, and this one is of 'qwen2'"
    ):
        read_shape(model)


def test_scaled_positions_are_refused(toy, tmp_path):
    model = edited(toy, tmp_path / "m.gguf", {"llama.rope.scaling.type": "yarn"})
    with pytest.raises(RecipeInvalidError, match="rope scaling"):
        read_shape(model)


def test_a_missing_tensor_and_an_unknown_one_are_named(toy, tmp_path):
    with pytest.raises(RecipeInvalidError, match=r"no tensor blk\.1\.ffn_up\.weight"):
        read_shape(edited(toy, tmp_path / "a.gguf", without=["blk.1.ffn_up.weight"]))
    bias = plain("blk.0.attn_q.bias", (64,), lambda: np.zeros(64, np.float32))
    with pytest.raises(RecipeInvalidError, match=r"such as blk\.0\.attn_q\.bias"):
        read_shape(edited(toy, tmp_path / "b.gguf", more=[bias]))
