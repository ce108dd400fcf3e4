from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from origin.build.onnx.checkpoint import WORDS, read_checkpoint
from origin.build.onnx.rows import open_tokenizer
from origin.build.step import Artifact
from origin.errors import RecipeInvalidError
from tests.origin.build.running_steps import run_step, serve
from tests.origin.build.toy_bert import SPECIAL, TEXTS, write_toy_bert


def alike(left, right):
    return float((left * right).sum(1).mean())


def test_named_layers_are_kept(tmp_path, toy, vectors_of):
    made, facts = run_step(tmp_path, "drop_encoder_layers", toy, keep=[1])
    before, after = (load_file(artifact.model_file) for artifact in (toy, made))
    assert facts == {"kept": [1]}
    name = "attention.self.query.weight"
    assert np.array_equal(after[f"encoder.layer.0.{name}"], before[f"encoder.layer.1.{name}"])
    assert json.loads((made.directory / "config.json").read_text())["num_hidden_layers"] == 1
    graph, _ = run_step(tmp_path / "graph", "export_onnx", made)
    assert graph.model_file.stat().st_size < toy.model_file.stat().st_size
    assert serve(graph, TEXTS)[0].abilities[0] == "embedding"


def test_the_layer_that_does_least_is_dropped(tmp_path):
    source = write_toy_bert(tmp_path / "source", layers=3)
    tensors = load_file(source / "model.safetensors")
    for name in tensors:  # a layer that adds next to nothing
        if name.startswith("encoder.layer.1.") and "output.dense" in name:
            tensors[name] *= 1e-3
    save_file(tensors, source / "model.safetensors")
    _, facts = run_step(
        tmp_path / "build",
        "drop_encoder_layers",
        Artifact("5" * 64, "bert", source),
        texts=TEXTS,
        drop_count=1,
    )
    assert facts["kept"] == [0, 2]
    assert min(facts["influences"]) == facts["influences"][1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "either"),
        ({"keep": [0], "drop_count": 1}, "either"),
        ({"drop_count": 2}, "of 2 layers"),
        ({"drop_count": 1}, "data"),
        ({"keep": [2]}, "0 to 1"),
        ({"keep": [1, 0]}, "in order"),
        ({"keep": [0, 0]}, "each once"),
    ],
)
def test_layers_that_cannot_be_are_refused(tmp_path, toy, fields, said):
    with pytest.raises(RecipeInvalidError, match=said):
        run_step(tmp_path, "drop_encoder_layers", toy, **fields)


@pytest.fixture
def narrowed_without_loss(tmp_path, vectors_of):
    """Called with what to change in the toy's tensors: the half of its neurons that is left gives the same vectors."""

    def narrowed(change):
        source = write_toy_bert(tmp_path / "source")
        tensors = load_file(source / "model.safetensors")
        for index in range(2):
            change(tensors, f"encoder.layer.{index}")
        save_file(tensors, source / "model.safetensors")
        whole = Artifact("6" * 64, "bert", source)
        made, facts = run_step(tmp_path / "build", "narrow_encoder_ffn", whole, texts=TEXTS, inner_count=64)
        assert facts["kept_shares"] == [1.0, 1.0]
        before, _ = run_step(tmp_path / "before", "export_onnx", whole)
        after, _ = run_step(tmp_path / "after", "export_onnx", made)
        assert np.abs(vectors_of(before) - vectors_of(after)).max() < 1e-5
        return made

    return narrowed


def test_the_neurons_that_carry_most_stay(narrowed_without_loss):
    def silence(tensors, layer):  # half of the neurons give nothing to the output
        tensors[f"{layer}.output.dense.weight"][:, 0:128:2] = 0

    made = narrowed_without_loss(silence)
    assert read_checkpoint(made.directory).config.intermediate_size == 64


def test_neurons_that_never_fire_go_however_large_their_weights(narrowed_without_loss):
    def never_fire(tensors, layer):
        tensors[f"{layer}.intermediate.dense.weight"][1::2] = 0
        tensors[f"{layer}.intermediate.dense.bias"][1::2] = 0
        tensors[f"{layer}.output.dense.weight"][:, 1::2] *= 4

    narrowed_without_loss(never_fire)


@pytest.mark.parametrize("count", [128, 256, 50])
def test_a_width_that_cannot_be_is_refused(tmp_path, toy, count):
    with pytest.raises(RecipeInvalidError, match="inner_count"):
        run_step(tmp_path, "narrow_encoder_ffn", toy, texts=TEXTS, inner_count=count)


def test_the_smallest_weights_become_zero(tmp_path, toy):
    made, _ = run_step(tmp_path, "sparsify_encoder", toy, share=0.25)
    before, after = (load_file(artifact.model_file) for artifact in (toy, made))
    name = "encoder.layer.0.intermediate.dense.weight"
    gone = after[name] == 0
    assert gone.sum() == gone.size // 4
    assert np.abs(before[name][gone]).max() <= np.abs(before[name][~gone]).min()
    assert np.array_equal(before[WORDS], after[WORDS])


def test_two_of_each_four_become_zero(tmp_path, toy):
    made, _ = run_step(tmp_path, "sparsify_encoder", toy, zeros_count=2, of_each=4)
    after = load_file(made.model_file)["encoder.layer.1.output.dense.weight"]
    assert ((after.reshape(-1, 4) == 0).sum(axis=1) == 2).all()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"share": 0.5, "zeros_count": 2, "of_each": 4},
        {"zeros_count": 4, "of_each": 4},
        {"zeros_count": 1, "of_each": 5},
    ],
)
def test_patterns_that_cannot_be_are_refused(tmp_path, toy, fields):
    with pytest.raises(RecipeInvalidError):
        run_step(tmp_path, "sparsify_encoder", toy, **fields)


def test_a_smaller_vocabulary_reads_the_same_texts_alike(tmp_path, toy, vectors_of):
    seen = TEXTS[:6]
    made, facts = run_step(tmp_path / "build", "trim_encoder_vocabulary", toy, texts=seen)
    assert facts["tokens_count"] < facts["before_count"]
    before, _ = run_step(tmp_path / "before", "export_onnx", toy)
    after, _ = run_step(tmp_path / "after", "export_onnx", made)
    assert np.abs(vectors_of(before, seen) - vectors_of(after, seen)).max() < 1e-6
    tokenizer = open_tokenizer(made.directory)
    assert tokenizer.token_to_id("harbour") is None, "no text that was seen has it"
    assert "[UNK]" not in tokenizer.encode("harbours and quarks").tokens, "it is spelled"
    assert [tokenizer.token_to_id(word) for word in SPECIAL] == list(range(len(SPECIAL)))
    assert serve(after, TEXTS)[0].abilities[0] == "embedding"


def test_only_word_pieces_are_trimmed(tmp_path, toy):
    source = write_toy_bert(tmp_path / "source")
    settings = json.loads((source / "tokenizer.json").read_text())
    settings["model"]["type"] = "Unigram"
    (source / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(RecipeInvalidError, match="Unigram"):
        run_step(
            tmp_path / "build", "trim_encoder_vocabulary", Artifact("7" * 64, "bert", source), texts=TEXTS
        )
