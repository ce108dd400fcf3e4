import shutil
from dataclasses import replace

import pytest

from origin.build.evaluate.chat import memory_bytes
from origin.build.evaluate.children import CandidateUnfitError
from origin.build.evaluate.evaluation import evaluate
from origin.build.evaluate.peak_memory import peak_bytes
from origin.build.gates import judge
from origin.build.step import Artifact
from origin.build.texts import TextSet
from origin.errors import RecipeInvalidError, StepFailedError
from tests.origin.build.running_steps import run_step
from tests.origin.build.spoiling import SPOILED_GGUF, spoil_gguf
from tests.origin.build.toy_llama import ToyShape, write_toy_llama

needs_a_peak = pytest.mark.skipif(not peak_bytes(), reason="this system does not tell the peak of a process")


def quiet(*_):
    """Hear how far it is, and say nothing."""


def artifact(directory, kind="gguf"):
    return Artifact(directory.name, kind, directory)


def test_a_model_is_as_good_as_itself(toy, chat_texts, chat_work):
    evaluation = evaluate(toy, toy, chat_texts, (), chat_work)
    figures = evaluation.figures
    assert evaluation.faults == ()
    assert figures["kl_mean"].value == pytest.approx(0, abs=1e-5)
    assert figures["top1"].value == 1.0
    assert figures["perplexity_ratio"].value == pytest.approx(1, abs=1e-5)
    assert figures["bits_per_byte_ratio"].value == pytest.approx(1, abs=1e-5)
    assert figures["tokenizer_same"].value == 1.0
    assert figures["bytes"].value == toy.model_file.stat().st_size
    assert 0 < figures["wire_bytes"].value < figures["bytes"].value * 1.01
    assert 900 <= evaluation.sizes["tokens_count"] < 2000
    assert judge(evaluation, None).passed


@pytest.mark.parametrize("how", SPOILED_GGUF)
def test_what_was_spoiled_is_refused(how, toy, chat_texts, chat_work, tmp_path):
    spoil_gguf(toy.model_file, tmp_path / "model.gguf", how)
    verdict = judge(evaluate(artifact(tmp_path), toy, chat_texts, (), chat_work), None)
    assert not verdict.passed
    assert verdict.reasons
    said = {"tokenizer": "tokenizer_same", "specials": "tokenizer_same", "truncated": "cannot be computed"}
    assert said.get(how, "") in " ".join(verdict.reasons)


def test_another_model_of_the_same_shape_is_refused(toy, chat_texts, chat_work, tmp_path):
    write_toy_llama(tmp_path / "model.gguf", seed=9)
    verdict = judge(evaluate(artifact(tmp_path), toy, chat_texts, (), chat_work), None)
    assert {row.name for row in verdict.rows if not row.passed} >= {"kl_mean", "top1"}


def test_a_smaller_vocabulary_is_compared_by_bytes_alone(toy, chat_texts, chat_work, tmp_path):
    write_toy_llama(tmp_path / "model.gguf", ToyShape(merges=20))
    evaluation = evaluate(artifact(tmp_path), toy, chat_texts, (), chat_work)
    assert "kl_mean" not in evaluation.figures
    assert evaluation.figures["bits_per_byte"].value > 0
    assert evaluation.figures["tokenizer_same"].value < 1
    assert "kl_mean was not measured" in judge(evaluation, None).reasons


def test_no_model_at_all_is_a_fault_of_the_candidate(toy, chat_texts, chat_work, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    evaluation = evaluate(artifact(tmp_path), toy, chat_texts, (), chat_work)
    assert "cannot be computed" in evaluation.faults[0]
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert evaluate(artifact(tmp_path), toy, chat_texts, (), chat_work).faults


def test_a_reference_that_does_not_load_is_a_failed_step(toy, chat_texts, chat_work, tmp_path):
    spoil_gguf(toy.model_file, tmp_path / "model.gguf", "truncated")
    with pytest.raises(StepFailedError, match="reference cannot be measured"):
        evaluate(toy, artifact(tmp_path), chat_texts, (), chat_work)


def test_too_little_text_is_refused_and_leaves_nothing(toy, chat_work, tmp_path):
    work = replace(chat_work, kept=tmp_path / "kept", tokens_count=8192)
    with pytest.raises(RecipeInvalidError, match="give more text"):
        evaluate(toy, toy, TextSet("eval", ("sand tin rate " * 40,), "f" * 64), (), work)
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_a_kill_left_of_the_reference_is_removed_by_the_next(toy, chat_texts, chat_work, tmp_path):
    left = tmp_path / "kept/.part-1"
    left.mkdir(parents=True)
    (left / "scores.npy").write_bytes(bytes(1000))
    evaluate(toy, toy, chat_texts, (), replace(chat_work, kept=tmp_path / "kept"))
    (kept,) = (tmp_path / "kept").iterdir()
    assert (kept / "scores.npy").is_file()


def test_what_was_learned_from_is_no_text_to_judge_on(toy, chat_texts, chat_work):
    work = replace(chat_work, learned_from=(TextSet("calib", chat_texts.texts[:3], "c" * 64),))
    evaluation = evaluate(toy, toy, chat_texts, (), work)
    assert evaluation.figures["leaked_share"].value == pytest.approx(0.5, abs=0.01)
    assert [row.name for row in judge(evaluation, None).rows if not row.passed] == ["leaked_share"]


def test_the_reference_is_read_once(toy, chat_texts, chat_work, tmp_path):
    notes = []
    work = replace(chat_work, kept=tmp_path / "kept", report=lambda progress: notes.append(progress.note))
    evaluate(toy, toy, chat_texts, (), work)
    assert "reading with the source" in notes
    notes.clear()
    evaluate(toy, toy, chat_texts, (), work)
    assert set(notes) == {"reading with the variant", "weighing"}


def test_speed_is_told_against_the_source_and_against_a_sibling(toy, chat_texts, chat_work, tmp_path):
    write_toy_llama(tmp_path / "model.gguf", ToyShape(layers=8, width=128, ffn_width=512))
    slow = artifact(tmp_path)
    work = replace(chat_work, speeds=True, siblings={"slow": slow})
    figures = evaluate(toy, toy, chat_texts, (), work).figures
    assert 0.2 < figures["decode_speedup"].value < 5
    assert figures["decode_speedup@slow"].value > 1.2
    assert figures["prefill_speedup@slow"].value > 1.2
    assert figures["load_s"].value > 0


@needs_a_peak
def test_memory_is_of_a_model_with_a_context_as_nodes_make_it(toy, chat_texts, chat_work, tmp_path):
    """In f16 a token takes 16 KiB in all layers of these; one has room for 512 tokens, the others for 4,096."""
    peaks = {}
    for context in (512, 4096, 16_384):
        shape = ToyShape(layers=32, width=128, heads=4, kv_heads=4, context=context)
        write_toy_llama(tmp_path / str(context) / "model.gguf", shape)
        peaks[context] = memory_bytes(artifact(tmp_path / str(context)), threads_count=1, report=quiet)
    cache_bytes = (4096 - 512) * 16 * 1024
    assert 0.95 * cache_bytes < peaks[4096] - peaks[512] < 1.5 * cache_bytes
    assert peaks[16_384] == pytest.approx(peaks[4096], rel=0.1)
    told = evaluate(artifact(tmp_path / "4096"), toy, chat_texts, (), chat_work).figures["memory_bytes"]
    assert told.value == pytest.approx(peaks[4096], rel=0.1)
    assert told.low == told.value == told.high


@needs_a_peak
def test_a_context_shorter_than_the_prompt_is_filled(tmp_path):
    write_toy_llama(tmp_path / "model.gguf", ToyShape(context=256))
    assert memory_bytes(artifact(tmp_path), threads_count=1, report=quiet) > 1 << 20


@needs_a_peak
def test_weights_in_memory_are_counted(tmp_path):
    """Two models with the same cache; of one the weights are 40 MB more, and what 512 tokens make of them 20 MB."""
    peaks, sizes = [], []
    for ffn_width in (128, 10_240):
        folder = tmp_path / str(ffn_width)
        write_toy_llama(
            folder / "model.gguf", ToyShape(layers=4, width=160, heads=5, kv_heads=5, ffn_width=ffn_width)
        )
        peaks.append(memory_bytes(artifact(folder), threads_count=1, report=quiet))
        sizes.append((folder / "model.gguf").stat().st_size)
    assert sizes[1] - sizes[0] > 35 << 20
    assert peaks[1] - peaks[0] > sizes[1] - sizes[0] + 512 * 10_240 * 4


@needs_a_peak
def test_weights_that_are_laid_out_anew_for_the_processor_count_once(tmp_path):
    """What Q4_0 saves on the disk it saves in memory; mapped, its pages would count beside the kernels' own form."""
    write_toy_llama(
        tmp_path / "model.gguf", ToyShape(layers=6, width=160, heads=5, kv_heads=5, ffn_width=10_240)
    )
    full = artifact(tmp_path)
    four, _ = run_step(tmp_path / "four", "quantize", full, type="Q4_0")
    saved_bytes = full.model_file.stat().st_size - four.model_file.stat().st_size
    peaks = [memory_bytes(it, threads_count=1, report=quiet) for it in (full, four)]
    assert peaks[0] - peaks[1] > 0.85 * saved_bytes


def test_where_the_system_does_not_tell_there_is_no_figure_and_no_fault(
    toy, chat_texts, chat_work, monkeypatch
):
    monkeypatch.setattr("origin.build.evaluate.chat.memory_bytes", lambda *_, **__: 0)
    evaluation = evaluate(toy, toy, chat_texts, (), chat_work)
    assert "memory_bytes" not in evaluation.figures
    assert judge(evaluation, None).passed


def test_a_model_that_does_not_compute_is_not_weighed(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(CandidateUnfitError, match="cannot load"):
        memory_bytes(artifact(tmp_path), threads_count=1, report=quiet)


def test_kinds_that_cannot_be_compared_are_refused(toy, chat_texts, chat_work, tmp_path):
    with pytest.raises(RecipeInvalidError, match="cannot be judged beside"):
        evaluate(artifact(tmp_path, "onnx"), toy, chat_texts, (), chat_work)
