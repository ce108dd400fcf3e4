from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from origin.build.onnx.checkpoint import WORDS
from origin.build.step import Artifact
from origin.errors import RecipeInvalidError
from tests.origin.build.running_steps import run_step, serve
from tests.origin.build.toy_bert import TEXTS, write_toy_bert


def reference(directory, text):
    """The same encoder once more, one text at a time, in double precision and in no hurry."""
    from origin.build.onnx.rows import read_rows

    tensors = {
        name: values.astype(np.float64) for name, values in load_file(directory / "model.safetensors").items()
    }
    config = json.loads((directory / "config.json").read_text())
    (ids,) = read_rows(directory, [text], limit_tokens=32)

    def norm(values, name):
        spread = values - values.mean(-1, keepdims=True)
        return (
            spread / np.sqrt((spread**2).mean(-1, keepdims=True) + 1e-12) * tensors[f"{name}.weight"]
            + tensors[f"{name}.bias"]
        )

    def linear(values, name):
        return values @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def gelu(values):
        from math import erf

        return values * 0.5 * (1 + np.vectorize(erf)(values / np.sqrt(2)))

    place = tensors["embeddings.position_embeddings.weight"][: len(ids)]
    state = norm(
        tensors[WORDS][ids] + place + tensors["embeddings.token_type_embeddings.weight"][0],
        "embeddings.LayerNorm",
    )
    heads = config["num_attention_heads"]
    size = state.shape[1] // heads
    for index in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{index}."
        query, key, value = (
            linear(state, f"{at}attention.self.{part}") for part in ("query", "key", "value")
        )
        pieces = []
        for head in range(heads):
            cut = slice(head * size, (head + 1) * size)
            scores = query[:, cut] @ key[:, cut].T / np.sqrt(size)
            likely = np.exp(scores - scores.max(-1, keepdims=True))
            pieces.append(likely / likely.sum(-1, keepdims=True) @ value[:, cut])
        state = norm(
            state + linear(np.hstack(pieces), f"{at}attention.output.dense"),
            f"{at}attention.output.LayerNorm",
        )
        inner = gelu(linear(state, f"{at}intermediate.dense"))
        state = norm(state + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    pooled = state.mean(0)
    return pooled / np.linalg.norm(pooled)


def test_the_graph_computes_the_checkpoint_in_any_company(toy, exported, vectors_of):
    expected = np.stack([reference(toy.directory, text) for text in TEXTS])
    assert np.abs(vectors_of(exported) - expected).max() < 1e-5
    assert np.abs(vectors_of(exported, TEXTS[:1]) - expected[:1]).max() < 1e-5


def test_the_first_token_pools_where_the_model_says_so(toy, tmp_path, vectors_of):
    source = write_toy_bert(tmp_path / "source")
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {
                "pooling_mode_cls_token": True,
                "pooling_mode_mean_tokens": False,
                "word_embedding_dimension": 64,
            }
        )
    )
    first, _ = run_step(tmp_path / "build", "export_onnx", Artifact("2" * 64, "bert", source))
    alike = (vectors_of(first) * np.stack([reference(toy.directory, text) for text in TEXTS])).sum(1)
    assert (alike < 0.999).any()
    assert (first.directory / "1_Pooling" / "config.json").is_file(), (
        "a node pools nothing twice, and knows why"
    )


def test_a_node_serves_it(exported, vectors_of):
    ready, vectors = serve(exported, TEXTS)
    assert ready.abilities == ("embedding", "tensors")
    assert ready.embedding_dims == 64
    assert ready.batches, "one text's vector does not depend on its company"
    assert np.abs(vectors - vectors_of(exported)).max() < 1e-5


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda tensors: tensors.pop("encoder.layer.1.output.dense.bias"), "lacks 1 tensors"),
        (lambda tensors: tensors.update({WORDS: tensors[WORDS][:-1].copy()}), "should be"),
        (lambda tensors: tensors[WORDS].__setitem__((0, 0), np.nan), "not finite"),
        (
            lambda tensors: tensors.update({"classifier.weight": np.zeros((2, 64), np.float32)}),
            "has the head",
        ),
        (
            lambda tensors: tensors.update({"encoder.layer.7.output.dense.bias": np.zeros(4, np.float32)}),
            "is no tensor",
        ),
    ],
)
def test_what_is_no_encoder_is_refused(tmp_path, spoil, said):
    source = write_toy_bert(tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    spoil(tensors)
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(RecipeInvalidError, match=said):
        run_step(tmp_path / "build", "export_onnx", Artifact("2" * 64, "bert", source))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "roberta"}, "roberta"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"hidden_act": "silu"}, "silu"),
        ({"num_attention_heads": 5}, "heads"),
        ({"hidden_size": "wide"}, "config.json"),
    ],
)
def test_other_architectures_are_refused(tmp_path, settings, said):
    source = Artifact("2" * 64, "bert", write_toy_bert(tmp_path / "source", **settings))
    with pytest.raises(RecipeInvalidError, match=said):
        run_step(tmp_path / "build", "export_onnx", source)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x00\xff not this"])
def test_a_broken_or_missing_file_is_a_clear_error(tmp_path, name, content):
    source = write_toy_bert(tmp_path / "source")
    (source / name).unlink()
    if content is not None:
        (source / name).write_bytes(content)
    if name == "tokenizer.json" and content is not None:
        from origin.build.onnx.rows import read_rows

        with pytest.raises(RecipeInvalidError, match=r"tokenizer\.json"):
            read_rows(source, ["a"], limit_tokens=8)
        return
    with pytest.raises(RecipeInvalidError, match=name.replace(".", r"\.")):
        run_step(tmp_path / "build", "export_onnx", Artifact("2" * 64, "bert", source))


def test_a_prefix_and_an_unused_head_are_read_over(tmp_path, exported, vectors_of):
    source = write_toy_bert(tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    prefixed = {f"bert.{name}": values for name, values in tensors.items()}
    save_file({**prefixed, "bert.pooler.dense.bias": np.zeros(64, np.float32)}, source / "model.safetensors")
    made, _ = run_step(tmp_path / "build", "export_onnx", Artifact("2" * 64, "bert", source))
    assert np.array_equal(vectors_of(made), vectors_of(exported))
