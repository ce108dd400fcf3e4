from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from structlog.testing import capture_logs

from origin.build.encoder.forward import encode, sentence_vectors
from origin.build.encoder.student import to_weights
from origin.build.onnx.checkpoint import read_checkpoint
from origin.build.onnx.rows import in_batches, read_rows
from origin.build.step import Artifact
from origin.build.training import steps
from origin.errors import RecipeInvalidError, StepFailedError
from tests.origin.build.running_steps import run_step, serve
from tests.origin.build.toy_bert import TEXTS, write_toy_bert

SHORT = {"steps_count": 40, "batch_rows_count": 6}


def alike(left, right):
    return float((left * right).sum(1).mean())


def test_the_torch_forward_is_the_graph(toy, exported, vectors_of):
    checkpoint = read_checkpoint(toy.directory)
    weights = to_weights(checkpoint, torch.device("cpu"), learns=False)
    rows = read_rows(toy.directory, TEXTS, limit_tokens=32)
    vectors = np.zeros((len(rows), 64), np.float32)
    for batch in in_batches(rows, batch_tokens=40):
        vectors[batch.places] = sentence_vectors(encode(checkpoint.config, weights, batch), "mean").numpy()
    assert np.abs(vectors - vectors_of(exported)).max() < 1e-5


@pytest.mark.parametrize("losses", [{}, {"similarity_weight": 2.0}, {"hidden_weight": 1.0}])
def test_a_student_comes_nearer_to_its_teacher(tmp_path, toy, exported, vectors_of, losses):
    start, _ = run_step(tmp_path / "start", "drop_encoder_layers", toy, keep=[0])
    before, _ = run_step(tmp_path / "before", "export_onnx", start)
    student, facts = run_step(
        tmp_path / "kd",
        "distill_encoder",
        start,
        teacher=toy,
        texts=TEXTS,
        learning_rate=3e-3,
        **SHORT,
        **losses,
    )
    assert facts["texts_count"] == len(TEXTS)
    after, _ = run_step(tmp_path / "after", "export_onnx", student)
    exact = vectors_of(exported)
    assert 1 - alike(vectors_of(after), exact) < 0.5 * (1 - alike(vectors_of(before), exact))


class CutError(Exception):
    """The build was ended here."""


def cut_at(done):
    def report(progress):
        if progress.unit == "steps" and progress.done == done:
            raise CutError

    return report


@pytest.mark.parametrize("op", ["distill_encoder", "qat_encoder", "distill_static"])
def test_training_that_was_cut_goes_on_bit_for_bit(tmp_path, toy, monkeypatch, op):
    fields = {"texts": TEXTS, "steps_count": 12, "batch_rows_count": 5}
    if op == "distill_static":
        fields["width"] = 16
    whole, whole_facts = run_step(tmp_path / "whole", op, toy, **fields)
    monkeypatch.setattr(steps, "_KEEP_EVERY_S", 0.0)
    monkeypatch.setattr(steps, "_KEEP_SHARE", np.inf)
    for done in (5, 9):
        with pytest.raises(CutError):
            run_step(tmp_path / "cut", op, toy, **fields, report=cut_at(done))
    reached = []
    cut, facts = run_step(tmp_path / "cut", op, toy, **fields, report=reached.append)
    assert min(progress.done for progress in reached if progress.unit == "steps") > 8, "it did go on"
    assert cut.model_file.read_bytes() == whole.model_file.read_bytes()
    assert facts == whole_facts


def test_another_seed_is_another_student(tmp_path, toy):
    first, _ = run_step(
        tmp_path / "1", "distill_encoder", toy, texts=TEXTS, seed=1, steps_count=2, batch_rows_count=5
    )
    second, _ = run_step(
        tmp_path / "2", "distill_encoder", toy, texts=TEXTS, seed=2, steps_count=2, batch_rows_count=5
    )
    assert first.model_file.read_bytes() != second.model_file.read_bytes()


def test_after_a_spoiled_checkpoint_the_training_begins_again(tmp_path, toy):
    whole, facts = run_step(tmp_path / "whole", "distill_encoder", toy, texts=TEXTS, **SHORT)
    spoiled = tmp_path / "spoiled" / "checkpoints" / "training.safetensors"
    spoiled.parent.mkdir(parents=True)
    spoiled.write_bytes(b"half a file")
    with capture_logs() as logs:
        again, facts_again = run_step(tmp_path / "spoiled", "distill_encoder", toy, texts=TEXTS, **SHORT)
    assert [(entry["event"], entry["file"]) for entry in logs] == [("checkpoint.discarded", str(spoiled))]
    assert again.model_file.read_bytes() == whole.model_file.read_bytes()
    assert facts_again == facts


def test_a_loss_that_is_none_ends_the_training(tmp_path, toy):
    with pytest.raises(StepFailedError, match="learning_rate"):
        run_step(tmp_path, "distill_encoder", toy, texts=TEXTS, learning_rate=1e30, **SHORT)


def test_training_on_the_grid_beats_rounding_and_is_served_as_it_was_trained(
    tmp_path, toy, exported, vectors_of
):
    rounded, _ = run_step(tmp_path / "ptq", "quantize_blocks", exported, bits=4)
    trained, _ = run_step(
        tmp_path / "qat",
        "qat_encoder",
        toy,
        texts=TEXTS,
        learning_rate=3e-3,
        steps_count=60,
        batch_rows_count=6,
    )
    exact = vectors_of(exported)
    assert 1 - alike(vectors_of(trained), exact) < 0.6 * (1 - alike(vectors_of(rounded), exact))
    kinds = [node.op_type for node in onnx.load(trained.model_file).graph.node]
    assert kinds.count("MatMulNBits") == 8
    assert "GatherBlockQuantized" in kinds
    ready, vectors = serve(trained, TEXTS)
    assert ready.abilities[0] == "embedding"
    assert np.abs(vectors - vectors_of(trained)).max() < 1e-5


def test_a_student_without_attention_learns_and_is_served(tmp_path, toy, exported, vectors_of):
    made, facts = run_step(
        tmp_path, "distill_static", toy, texts=TEXTS, width=32, steps_count=80, batch_rows_count=6,
        learning_rate=3e-2, step_deviations=0.2,
    )  # fmt: skip
    assert facts["width"] == 32
    exact, learned = vectors_of(exported), vectors_of(made)
    ours, theirs = learned @ learned.T, exact @ exact.T
    above = np.triu_indices(len(TEXTS), 1)
    assert np.corrcoef(ours[above], theirs[above])[0, 1] > 0.9
    assert {node.op_type for node in onnx.load(made.model_file).graph.node}.isdisjoint(
        {"MatMul", "MultiHeadAttention"}
    )
    ready, vectors = serve(made, TEXTS)
    assert ready.embedding_dims == 32
    assert ready.batches
    assert np.abs(vectors - learned).max() < 1e-6


@pytest.mark.parametrize("op", ["distill_encoder", "qat_encoder"])
def test_unlike_student_and_teacher_are_refused(tmp_path, toy, op):
    wide = Artifact("4" * 64, "bert", write_toy_bert(tmp_path / "wide", width=96))
    with pytest.raises(RecipeInvalidError, match="96"):
        run_step(tmp_path / "build", op, toy, teacher=wide, texts=TEXTS, **SHORT)
    trimmed, _ = run_step(tmp_path / "trimmed", "trim_encoder_vocabulary", toy, texts=TEXTS, seen_count=9)
    with pytest.raises(RecipeInvalidError, match="different vocabularies"):
        run_step(tmp_path / "build", op, toy, teacher=trimmed, texts=TEXTS, **SHORT)


def test_a_static_student_is_no_wider_than_its_teacher(tmp_path, toy):
    with pytest.raises(RecipeInvalidError, match="65"):
        run_step(tmp_path, "distill_static", toy, texts=TEXTS, width=65)
