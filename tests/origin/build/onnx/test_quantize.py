from __future__ import annotations

import onnx
import pytest

from origin.errors import RecipeInvalidError, StepFailedError
from tests.origin.build.running_steps import run_step, serve
from tests.origin.build.toy_bert import TEXTS

BLOCKS = "quantize_blocks"
LONG = tuple(" ".join(TEXTS) for _ in range(9))


def alike(left, right):
    return float((left * right).sum(1).min())


@pytest.mark.parametrize(
    ("fields", "least"),
    [
        ({"bits": 8, "embedding": "float"}, 0.999),
        ({"bits": 8, "embedding": "rows8"}, 0.998),
        ({"bits": 8, "rounds_inputs": False, "embedding": "rows8"}, 0.998),
        ({"bits": 8, "block_count": 64, "embedding": "blocks4"}, 0.97),
        ({"bits": 8, "levels_bits": 6, "embedding": "rows8"}, 0.99),
        (
            {"bits": 8, "step_deviations": 0.05, "embedding": "rows8", "embedding_step_deviations": 0.05},
            0.995,
        ),
        ({"bits": 4, "block_count": 16, "embedding": "rows8"}, 0.9),
    ],
)
def test_blocks_keep_the_vectors_and_a_node_serves_them(tmp_path, exported, vectors_of, fields, least):
    made, facts = run_step(tmp_path, BLOCKS, exported, **fields)
    assert facts["matrices_count"] == 8
    kinds = [node.op_type for node in onnx.load(made.model_file).graph.node]
    assert "MatMul" not in kinds
    assert kinds.count("MatMulNBits") == 8
    exact = vectors_of(exported)
    assert alike(vectors_of(made), exact) > least
    ready, vectors = serve(made, TEXTS)
    assert ready.abilities[0] == "embedding"
    assert alike(vectors, exact) > least
    assert ready.batches, "a row is rounded by itself"


def test_texts_weigh_the_columns(tmp_path, exported, vectors_of):
    plain, _ = run_step(tmp_path / "plain", BLOCKS, exported, bits=4, embedding="float")
    weighed, _ = run_step(tmp_path / "weighed", BLOCKS, exported, bits=4, embedding="float", texts=TEXTS)
    exact = vectors_of(exported)
    assert (vectors_of(weighed) * exact).sum() > (vectors_of(plain) * exact).sum()


def test_fewer_levels_are_fewer_bytes_on_the_wire(tmp_path, exported):
    import zstandard

    sizes = []
    for levels in (8, 5):
        made, _ = run_step(tmp_path / str(levels), BLOCKS, exported, levels_bits=levels, embedding="float")
        sizes.append(len(zstandard.compress(made.model_file.read_bytes(), 3)))
    assert sizes[1] < sizes[0] - 65536 * 2 // 8, "two bits less for each of 64 Ki weights"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"bits": 4, "levels_bits": 6}, "levels_bits"),
        ({"bits": 4, "step_deviations": 0.2}, "step_deviations"),
        ({"embedding": "blocks4", "embedding_step_deviations": 0.2}, "rows8"),
        ({"block_count": 128}, "no multiple"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path, exported, fields, said):
    with pytest.raises(RecipeInvalidError, match=said):
        run_step(tmp_path, BLOCKS, exported, **fields)


@pytest.mark.parametrize("op", [BLOCKS, "quantize_dynamic"])
def test_what_is_quantized_already_is_refused(tmp_path, exported, op):
    made, _ = run_step(tmp_path / "first", BLOCKS, exported)
    with pytest.raises(RecipeInvalidError, match="single precision"):
        run_step(tmp_path / "second", op, made)


def test_a_file_that_is_no_graph_is_a_clear_error(tmp_path, exported):
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 64)
    from origin.build.step import Artifact

    with pytest.raises(StepFailedError, match=r"cannot read .*model\.onnx"):
        run_step(tmp_path / "build", BLOCKS, Artifact("3" * 64, "onnx", tmp_path))


@pytest.mark.parametrize("per_channel", [True, False])
def test_dynamic_quantization_keeps_the_vectors(tmp_path, exported, vectors_of, per_channel):
    made, _ = run_step(tmp_path, "quantize_dynamic", exported, per_channel=per_channel, embedding="rows8")
    kinds = [node.op_type for node in onnx.load(made.model_file).graph.node]
    assert kinds.count("MatMulInteger") == 8, "each matrix, those behind the attention as well"
    assert alike(vectors_of(made), vectors_of(exported)) > 0.98
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_static_quantization_covers_every_matrix(tmp_path, exported, vectors_of):
    made, facts = run_step(tmp_path, "quantize_static", exported, texts=LONG, embedding="rows8")
    assert facts["calibrated_texts_count"] == 9
    kinds = [node.op_type for node in onnx.load(made.model_file).graph.node]
    assert kinds.count("DequantizeLinear") >= 16
    assert alike(vectors_of(made), vectors_of(exported)) > 0.9


def test_static_quantization_wants_texts_that_are_long_enough(tmp_path, exported):
    with pytest.raises(StepFailedError, match="longer"):
        run_step(tmp_path, "quantize_static", exported, texts=("short",))


def test_the_same_step_writes_the_same_bytes(tmp_path, exported):
    first, _ = run_step(tmp_path / "1", BLOCKS, exported)
    second, _ = run_step(tmp_path / "2", BLOCKS, exported)
    assert first.model_file.read_bytes() == second.model_file.read_bytes()


def test_the_table_of_positions_is_stored_in_8_bits_and_computed_once(tmp_path, exported, vectors_of):
    """Toy positions are as large as its words, so this is the most that it can cost."""
    made, _ = run_step(tmp_path, BLOCKS, exported, embedding="float", rounds_inputs=False)
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(made.model_file).graph.initializer}
    name = "embeddings.position_embeddings.weight"
    assert name not in stored
    assert stored[f"{name}.codes"] == onnx.TensorProto.INT8
    assert alike(vectors_of(made), vectors_of(exported)) > 0.998
