"""Pruned models load, are really smaller, and lose what matters least."""

from __future__ import annotations

import numpy as np
import pytest

from origin.build.gguf.forward import open_forward
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.writing import NewTensor, edited_fields, write_model
from origin.build.gguf_steps import DropLayers, Importance, NarrowFfn, Quantize
from origin.build.step import Artifact
from origin.errors import RecipeInvalidError
from tests.origin.build.gguf.conftest import toy_artifact
from tests.origin.build.toy_llama import ToyShape


def logits(artifact):
    with open_forward(artifact.model_file, chunk_tokens=32, threads_count=1) as forward:
        return forward.logits(list(range(3, 30))).copy()


def with_zeros(source, directory, zero):
    """The model of `source` in which `zero(name, values)` changed the values in place."""
    model = ModelFile(source.model_file)
    directory.mkdir()
    tensors = []
    for tensor in model:
        values = model.values(tensor.name)
        zero(tensor.name, values)
        form = "<f4" if values.ndim == 1 else "<f2"
        tensors.append(
            NewTensor(tensor.name, tensor.dimensions, tensor.element, lambda v=values, f=form: v.astype(f))
        )
    write_model(directory / "model.gguf", edited_fields(model, {}), tensors)
    return Artifact("1" * 64, "gguf", directory)


@pytest.fixture
def deep(tmp_path):
    """Five layers, of which 1 and 3 add nothing."""

    def zero(name, values):
        if name.startswith(("blk.1.", "blk.3.")) and ("ffn_down" in name or "attn_output" in name):
            values[:] = 0

    return with_zeros(toy_artifact(tmp_path / "five", ToyShape(layers=5)), tmp_path / "deep", zero)


@pytest.mark.parametrize("how", ["importance", "data", "both", "layers"])
def test_layers_that_add_nothing_go(how, deep, do):
    importance, _ = do(Importance(id="i", data="calib", tokens=300), deep)
    step = {
        "importance": DropLayers(id="d", count=2, importance="i"),
        "data": DropLayers(id="d", count=2, data="calib", tokens=200),
        "both": DropLayers(id="d", count=2, importance="i", data="calib", tokens=200, candidates=3),
        "layers": DropLayers(id="d", layers=[3, 1, 1]),
    }[how]
    made, facts = do(step, deep, importance=importance)
    assert facts["dropped"] == [1, 3]
    assert ModelFile(made.model_file).layers_count == 3
    assert made.model_file.stat().st_size < deep.model_file.stat().st_size
    assert np.allclose(logits(made), logits(deep), atol=0.02)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (DropLayers(id="d"), "either count or layers"),
        (DropLayers(id="d", count=1, layers=[0]), "either count or layers"),
        (DropLayers(id="d", count=1), "to choose layers"),
        (DropLayers(id="d", layers=[2]), "layer 2 is not one of 0 to 1"),
        (DropLayers(id="d", layers=[0, 1]), "cannot lose 2"),
        (DropLayers(id="d", count=2, importance="i"), "cannot lose 2"),
    ],
)
def test_layers_that_cannot_go_are_refused(step, says, toy, do):
    with pytest.raises(RecipeInvalidError, match=says):
        do(step, toy)


def test_neurons_that_add_nothing_go(toy, tmp_path, do):
    idle = {0: np.arange(0, 128, 2), 1: np.arange(64)}

    def zero(name, values):
        for layer, columns in idle.items():
            if name == f"blk.{layer}.ffn_down.weight":
                values[:, columns] = 0

    source = with_zeros(toy, tmp_path / "idle", zero)
    importance, _ = do(Importance(id="i", data="calib", tokens=300), source)
    made, facts = do(NarrowFfn(id="n", importance="i", width=64), source, importance=importance)
    assert facts["kept_power"] == [1, 1]
    assert ModelFile(made.model_file).tensors["blk.1.ffn_down.weight"].dimensions == (64, 64)
    assert np.allclose(logits(made), logits(source), atol=0.02)


def test_neurons_that_never_fire_go_however_large_their_weights(toy, tmp_path, do):
    def change(name, values):
        if name.endswith("ffn_up.weight"):
            values[1::2] = 0
        elif name.endswith("ffn_down.weight"):
            values[:, 1::2] *= 4

    source = with_zeros(toy, tmp_path / "idle", change)
    importance, _ = do(Importance(id="i", data="calib", tokens=300), source)
    made, facts = do(NarrowFfn(id="n", importance="i", width=64), source, importance=importance)
    assert facts["kept_power"] == [1, 1]
    assert np.allclose(logits(made), logits(source), atol=0.02)


@pytest.mark.parametrize("width", [128, 160, 50])
def test_widths_that_are_none_are_refused(width, toy, do):
    with pytest.raises(RecipeInvalidError, match="multiple of 32 below 128"):
        do(NarrowFfn(id="n", importance="i", width=width), toy)


def test_a_quantized_model_is_not_narrowed(toy, do):
    small, _ = do(Quantize(id="q", type="Q8_0"), toy)
    with pytest.raises(RecipeInvalidError, match="dequantize"):
        do(NarrowFfn(id="n", importance="i", width=64), small)
