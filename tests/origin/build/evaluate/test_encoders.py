import random
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from origin.build.evaluate import encoder_child
from origin.build.evaluate.encoder_jobs import EncoderWeighJob
from origin.build.evaluate.encoders import memory_bytes
from origin.build.evaluate.evaluation import EvaluationWork, evaluate
from origin.build.evaluate.onnx_model import OnnxModel
from origin.build.evaluate.peak_memory import peak_bytes
from origin.build.evaluate.tasks import Task
from origin.build.gates import judge
from origin.build.step import Artifact
from origin.errors import RecipeInvalidError, StepFailedError
from tests.origin.build.running_steps import run_step, text_set
from tests.origin.build.spoiling import SPOILED_ONNX, spoil_onnx
from tests.origin.build.toy_bert import WORDS, write_toy_bert

needs_a_peak = pytest.mark.skipif(not peak_bytes(), reason="this system does not tell the peak of a process")
RNG = random.Random(5)
TEXTS = text_set(
    sorted(
        {
            " ".join(RNG.choices([word for word in WORDS if word[0] != "#"], k=RNG.randint(2, 9)))
            for _ in range(160)
        }
    )
)
RETRIEVAL = Task(figure="retrieval", texts=TEXTS.texts[:40] + TEXTS.texts[:40], sha256="a" * 64)
PROBE = Task(
    figure="probe", texts=TEXTS.texts[:120], sha256="b" * 64, train_count=60,
    labels=tuple(int("dog" in text) for text in TEXTS.texts[:120]),
)  # fmt: skip
SIMILARITY = Task(
    figure="similarity", texts=TEXTS.texts[:12], sha256="c" * 64,
    scores=tuple(
        float(len(set(one.split()) & set(other.split())))
        for index, one in enumerate(TEXTS.texts[:12])
        for other in TEXTS.texts[index + 1 : 12]
    ),
)  # fmt: skip


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    return Artifact("bert", "bert", write_toy_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="session")
def graph(bert, tmp_path_factory):
    return replace(run_step(tmp_path_factory.mktemp("graph"), "export_onnx", bert)[0], key="graph")


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    return EvaluationWork(kept=tmp_path_factory.mktemp("kept"), seed=7, report=lambda _: None, speeds=False)


def test_an_exported_graph_gives_the_vectors_that_numpy_computes_from_the_checkpoint(bert, graph, work):
    evaluation = evaluate(graph, bert, TEXTS, (RETRIEVAL, PROBE, SIMILARITY), work)
    figures = evaluation.figures
    assert evaluation.faults == ()
    assert figures["cosine_min"].value == pytest.approx(1, abs=1e-5)
    assert figures["nn10"].value > 0.99
    assert figures["retrieval"].value == pytest.approx(1)
    for task in ("retrieval", "probe", "similarity"):
        assert figures[f"{task}_share"].value == pytest.approx(1, abs=0.02)
    assert figures["bytes"].value > figures["wire_bytes"].value > 0
    assert judge(evaluation, None).passed
    assert msgspec.json.decode(msgspec.json.encode(evaluation), type=type(evaluation)) == evaluation


@pytest.mark.parametrize("how", SPOILED_ONNX)
def test_what_was_spoiled_is_refused(how, bert, graph, work, tmp_path):
    spoiled = Artifact(how, "onnx", spoil_onnx(graph.directory, tmp_path / "spoiled", how))
    verdict = judge(evaluate(spoiled, bert, TEXTS, (), work), None)
    assert not verdict.passed
    said = {"nan": "not numbers", "truncated": "cannot be computed"}
    assert said.get(how, "nn10") in " ".join(verdict.reasons)


def test_another_model_is_refused(bert, work, tmp_path):
    other = Artifact("other", "bert", write_toy_bert(tmp_path / "bert", seed=2))
    made, _ = run_step(tmp_path, "export_onnx", other)
    verdict = judge(evaluate(made, bert, TEXTS, (), work), None)
    assert {row.name for row in verdict.rows if not row.passed} == {"cosine_mean", "cosine_min", "nn10"}


def test_a_narrower_student_has_no_cosine_and_is_judged_by_tasks(bert, work, tmp_path):
    small = Artifact("small", "bert", write_toy_bert(tmp_path / "bert", width=32, seed=2))
    made, _ = run_step(tmp_path, "export_onnx", small)
    evaluation = evaluate(made, bert, TEXTS, (RETRIEVAL,), replace(work, new_space=True))
    assert "cosine_mean" not in evaluation.figures
    assert judge(evaluation, None).passed
    assert not judge(replace_figures(evaluation, "retrieval_share"), None).passed


def replace_figures(evaluation, without):
    kept = {name: figure for name, figure in evaluation.figures.items() if name != without}
    return msgspec.structs.replace(evaluation, figures=kept)


def test_the_same_vector_for_every_text_is_a_fault(bert, graph, work, tmp_path):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(graph.model_file))
    for entry in model.graph.initializer:
        values = numpy_helper.to_array(entry)
        if "LayerNorm.weight" in entry.name:
            entry.CopyFrom(numpy_helper.from_array(np.zeros_like(values), entry.name))
    for file in graph.directory.iterdir():
        if file.is_file() and file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    onnx.save(model, str(tmp_path / "model.onnx"))
    evaluation = evaluate(Artifact("flat", "onnx", tmp_path), bert, TEXTS, (), work)
    assert "the same vector for every text" in evaluation.faults[0]


def test_a_missing_tokenizer_is_a_fault_of_the_candidate_and_a_failure_of_the_reference(
    bert, graph, work, tmp_path
):
    (tmp_path / "model.onnx").write_bytes(graph.model_file.read_bytes())
    bare = Artifact("bare", "onnx", tmp_path)
    assert "tokenizer.json" in evaluate(bare, bert, TEXTS, (), work).faults[0]
    with pytest.raises(StepFailedError, match="reference cannot be measured"):
        evaluate(graph, bare, TEXTS, (), work)


def test_what_a_kill_left_of_the_reference_is_removed_by_the_next(graph, work, tmp_path):
    (tmp_path / ".part.npy").write_bytes(bytes(1000))
    evaluate(graph, graph, TEXTS, (), replace(work, kept=tmp_path))
    (kept,) = tmp_path.iterdir()
    assert kept.suffix == ".npy"
    assert not kept.name.startswith(".")


def test_too_few_texts_are_refused(bert, graph, work):
    with pytest.raises(RecipeInvalidError, match="takes 100"):
        evaluate(graph, bert, text_set(TEXTS.texts[:99]), (), work)


@needs_a_peak
def test_memory_is_told_and_grows_with_the_weights(bert, graph, work, tmp_path):
    wide = Artifact(
        "wide", "bert", write_toy_bert(tmp_path / "bert", layers=8, width=256, inner=1024, seed=2)
    )
    large = replace(run_step(tmp_path, "export_onnx", wide)[0], key="large")
    small, heavy = (
        evaluate(it, graph, TEXTS, (), replace(work, kept=tmp_path / it.key)).figures["memory_bytes"]
        for it in (graph, large)
    )
    grown_bytes = large.model_file.stat().st_size - graph.model_file.stat().st_size
    assert grown_bytes > 20 << 20
    assert grown_bytes < heavy.value - small.value < 5 * grown_bytes
    assert 8 << 20 < small.value < 512 << 20
    assert small.low == small.value == small.high


def test_a_graph_for_one_text_at_a_time_is_weighed_with_one(bert, graph, work, tmp_path):
    import onnx

    model = onnx.load(str(graph.model_file))
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_value = 1
    for file in graph.directory.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    onnx.save(model, str(tmp_path / "model.onnx"))
    evaluation = evaluate(Artifact("lonely", "onnx", tmp_path), bert, TEXTS, (), work)
    assert evaluation.faults == ()
    assert ("memory_bytes" in evaluation.figures) == bool(peak_bytes())


def test_what_is_weighed_is_a_batch_as_nodes_make_it(graph, monkeypatch):
    """1,024 tokens at most, of 32 each that this model reads, with what is too short filled up."""
    read = []
    monkeypatch.setattr(OnnxModel, "run", lambda self, ids: read.append(ids.shape))
    for texts in (("the map " * 40,) * 40, ("the map", "rain on the roof")):
        job = EncoderWeighJob(directory=str(graph.directory), kind="onnx", texts=texts, threads_count=1)
        encoder_child.weigh(job, lambda *_: None)
    assert read == [(32, 32), (2, 7)]


def test_the_longest_texts_are_weighed_with(graph, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "origin.build.evaluate.encoders.measure", lambda _, job, *__, **___: asked.append(job)
    )
    memory_bytes(graph, TEXTS, threads_count=1, report=lambda *_: None)
    lengths = sorted(map(len, TEXTS.texts), reverse=True)
    assert list(map(len, asked[0].texts)) == lengths[:32]


def test_speed_is_told_among_graphs(graph, work, tmp_path):
    large = Artifact(
        "large", "bert", write_toy_bert(tmp_path / "bert", layers=8, width=256, inner=1024, seed=2)
    )
    slow = replace(run_step(tmp_path, "export_onnx", large)[0], key="slow")
    figures = evaluate(graph, graph, TEXTS, (), replace(work, speeds=True, siblings={"slow": slow})).figures
    assert 0.2 < figures["encode_speedup"].value < 5
    assert figures["encode_speedup@slow"].value > 1.5
    assert figures["encode_texts_per_s"].value > 0


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_every_activation_is_computed_as_the_runtime_does(activation, work, tmp_path):
    bert = Artifact(activation, "bert", write_toy_bert(tmp_path / "bert", hidden_act=activation))
    made, _ = run_step(tmp_path, "export_onnx", bert)
    figures = evaluate(made, bert, TEXTS, (), work).figures
    assert figures["cosine_min"].value == pytest.approx(1, abs=1e-5)
