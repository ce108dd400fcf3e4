"""Graphs that others exported: more inputs, an older opset, token vectors in place of one for a text."""

from __future__ import annotations

import shutil

import onnx
import pytest
from onnx import TensorProto, helper

from origin.build.step import Artifact
from origin.errors import RecipeInvalidError, StepFailedError
from tests.origin.build.running_steps import run_step, serve
from tests.origin.build.toy_bert import TEXTS


def changed(exported, folder, change):
    shutil.copytree(exported.directory, folder)
    model = onnx.load(folder / "model.onnx")
    change(model)
    onnx.save(model, folder / "model.onnx")
    return Artifact("8" * 64, "onnx", folder)


def with_types(model):
    """Token types as a third input, in 32 bits; they change nothing."""
    model.graph.input.append(
        helper.make_tensor_value_info("token_type_ids", TensorProto.INT32, ["rows", "tokens"])
    )
    first = model.graph.node[0]
    model.graph.node.insert(0, helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.INT32))
    assert first.op_type == "Cast", "of the mask"
    first.output[0] = "mask.alone"
    model.graph.node.insert(2, helper.make_node("Add", ["mask.alone", "types"], ["mask.int32"]))


@pytest.mark.parametrize("op", ["quantize_blocks", "quantize_dynamic", "quantize_static"])
def test_a_graph_with_token_types_is_quantized(tmp_path, exported, vectors_of, op):
    source = changed(exported, tmp_path / "source", with_types)
    texts = tuple(" ".join(TEXTS) for _ in range(9)) if op != "quantize_dynamic" else ()
    made, _ = run_step(tmp_path / "build", op, source, texts=texts, embedding="rows8")
    _, vectors = serve(made, TEXTS)
    assert (vectors * vectors_of(exported)).sum(1).min() > 0.9


def test_an_input_that_nobody_knows_is_a_clear_error(tmp_path, exported):
    def change(model):
        model.graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["rows"]))

    source = changed(exported, tmp_path / "source", change)
    with pytest.raises(StepFailedError, match="pixels"):
        run_step(tmp_path / "build", "quantize_blocks", source)


@pytest.mark.system
def test_a_model_that_a_package_ships_quantized_is_refused(tmp_path, sample_models):
    with pytest.raises(RecipeInvalidError, match="no matrices in single precision"):
        run_step(tmp_path, "quantize_blocks", Artifact("9" * 64, "onnx", sample_models / "minilm"))
