"""A llama of Hugging Face's layout becomes the same model as GGUF."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from origin.build.gguf.forward import open_forward
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf_steps import ImportSafetensors
from origin.build.step import Artifact
from origin.errors import RecipeInvalidError
from tests.origin.build.toy_llama import SPECIALS, TEMPLATE, ToyShape, toy_tensors, vocabulary

THEIRS = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def halves_apart(values, heads):
    """The order in which Hugging Face keeps what llama.cpp has side by side."""
    rows = values.shape[0]
    return values.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)


@pytest.fixture
def hugging(tmp_path):
    """The toy as Hugging Face would store it."""
    shape, directory = ToyShape(), tmp_path / "hf"
    directory.mkdir()
    weights = {}
    for name, values in toy_tensors(shape, 0).items():
        if name.startswith("blk."):
            _, layer, part, _ = name.split(".")
            heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(part)
            theirs = halves_apart(values, heads) if heads else values
            weights[f"model.layers.{layer}.{THEIRS[part]}.weight"] = np.ascontiguousarray(theirs)
        else:
            to = {"token_embd.weight": "model.embed_tokens.weight"}.get(name, "model.norm.weight")
            weights[to] = values
    save_file(weights, directory / "model.safetensors")
    config = {
        "model_type": "llama", "num_hidden_layers": 2, "max_position_embeddings": 512, "hidden_size": 64,
        "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": True, "vocab_size": 319,
    }  # fmt: skip
    tokens, merges = vocabulary(shape.merges)
    whole = {
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens) if i > 2}, "merges": merges},
        "added_tokens": [{"id": i, "content": t, "special": True} for i, t in enumerate(SPECIALS)],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}],
        },
    }
    settings = {
        "bos_token": "<|im_start|>",
        "eos_token": {"content": "<|im_end|>"},
        "chat_template": TEMPLATE,
    }
    for name, content in (("config", config), ("tokenizer", whole), ("tokenizer_config", settings)):
        (directory / f"{name}.json").write_text(json.dumps(content))
    return Artifact("2" * 64, "llama", directory)


def change(artifact, name, **changes):
    path = artifact.directory / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_it_is_the_same_model(hugging, toy, do):
    made, facts = do(ImportSafetensors(id="g"), hugging)
    ours, theirs = ModelFile(made.model_file), ModelFile(toy.model_file)
    assert facts == {"tensors_count": 20, "tokens_count": 319}
    for name in theirs.tensors:
        assert np.array_equal(ours.values(name), theirs.values(name)), name
    for key in ("tokens", "merges", "token_type"):
        assert list(ours.array(f"tokenizer.ggml.{key}")) == list(theirs.array(f"tokenizer.ggml.{key}"))
    for key in ("tokenizer.ggml.pre", "tokenizer.chat_template", "tokenizer.ggml.eos_token_id"):
        assert ours.header.field(key).value == theirs.header.field(key).value
    results = []
    for path in (made.model_file, toy.model_file):
        with open_forward(path, chunk_tokens=32, threads_count=1) as forward:
            results.append(forward.logits(forward.tokens("the cat sat on the stone")).copy())
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("config.json", {"model_type": "mamba"}, "'mamba' is not read here"),
        ("config.json", {"hidden_size": None}, "no whole number hidden_size"),
        ("config.json", {"hidden_size": 32}, "a width of 32"),
        ("config.json", {"num_key_value_heads": 0}, "cannot share"),
        ("config.json", {"num_key_value_heads": "2"}, "cannot share"),
        ("config.json", {"head_dim": 15}, "15 numbers, not pairs"),
        ("config.json", {"num_key_value_heads": 3}, "cannot share"),
        (
            "config.json",
            {"num_key_value_heads": 4},
            r"k_proj\.weight has the shape \(32, 64\), and should have \(64, 64\)",
        ),
        (
            "config.json",
            {"num_attention_heads": 24, "num_key_value_heads": 24},
            r"q_proj\.weight has the shape \(64, 64\), and should have \(48, 64\)",
        ),
        ("config.json", {"num_hidden_layers": 3}, r"no model\.layers\.2"),
        ("config.json", {"rope_scaling": {"type": "linear"}}, "rope_scaling"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, "'Unigram' tokenizer"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Metaspace"}}, "as pre"),
        ("tokenizer.json", {"added_tokens": [{"id": 400, "content": "x"}]}, "token 400"),
    ],
)
def test_what_cannot_be_read_is_said(name, changes, says, hugging, do):
    change(hugging, name, **changes)
    with pytest.raises(RecipeInvalidError, match=says):
        do(ImportSafetensors(id="g"), hugging)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 80, b'{"a": 1'])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damage_is_a_clear_error(name, damage, hugging, do):
    (hugging.directory / name).write_bytes(damage)
    with pytest.raises(RecipeInvalidError, match=name.split(".")[0]):
        do(ImportSafetensors(id="g"), hugging)


def test_heads_that_share_nothing_may_go_unsaid(hugging, do):
    change(hugging, "config.json", num_attention_heads=2, num_key_value_heads=None, hidden_size=64)
    with safe_open(hugging.model_file, framework="np") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    for layer in range(2):
        for part in "kv":
            weights[f"model.layers.{layer}.self_attn.{part}_proj.weight"] = np.ones((64, 64), np.float16)
    save_file(weights, hugging.model_file)
    made, _ = do(ImportSafetensors(id="g"), hugging)
    assert ModelFile(made.model_file).number("attention.head_count_kv") == 2


def test_an_unknown_cut_can_be_named(hugging, do):
    change(hugging, "tokenizer.json", pre_tokenizer={"type": "Metaspace"})
    made, _ = do(ImportSafetensors(id="g", pre="gpt-2"), hugging)
    assert ModelFile(made.model_file).header.text("tokenizer.ggml.pre") == "gpt-2"
