"""A trimmed vocabulary still writes every text; sparse matrices have zeros where it costs least."""

from __future__ import annotations

import numpy as np
import pytest

from origin.build.gguf.forward import open_forward
from origin.build.gguf.importance import read_importance
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.sparsify import least
from origin.build.gguf.trim_vocabulary import staying
from origin.build.gguf_steps import Importance, Quantize, Sparsify, TrimVocabulary
from origin.errors import RecipeInvalidError
from tests.origin.build.gguf.conftest import toy_artifact
from tests.origin.build.toy_llama import ToyShape


def tokenized(artifact, text):
    tokens = ModelFile(artifact.model_file).array("tokenizer.ggml.tokens")
    with open_forward(artifact.model_file, chunk_tokens=32, threads_count=1) as forward:
        return [tokens[place] for place in forward.tokens(text)]


def test_seen_tokens_stay_and_text_is_the_same(tmp_path, do):
    toy = toy_artifact(tmp_path / "wordy", ToyShape(merges=96))
    made, facts = do(TrimVocabulary(id="t", data="c"), toy)
    assert facts["covered"] == 1
    assert facts["tokens_after"] < facts["tokens_before"] == 355
    assert tokenized(made, "the cat sat on the stone") == tokenized(toy, "the cat sat on the stone")
    assert "".join(tokenized(made, "Zürich 北京 zzz ishiha")).count("Ã") == 1  # bytes stay
    model, before = ModelFile(made.model_file), ModelFile(toy.model_file)
    assert model.tensors["token_embd.weight"].dimensions == (64, facts["tokens_after"])
    assert model.header.number("llama.vocab_size") == facts["tokens_after"]
    texts = [before.array("tokenizer.ggml.tokens"), model.array("tokenizer.ggml.tokens")]
    ends = [m.header.number("tokenizer.ggml.eos_token_id") for m in (before, model)]
    assert texts[0][ends[0]] == texts[1][ends[1]] == "<|im_end|>"
    where = [t.index("Ġt") for t in texts]
    rows = [m.values("token_embd.weight")[at] for m, at in zip((before, model), where, strict=True)]
    assert np.array_equal(rows[0], rows[1])


def test_rows_of_blocks_are_taken_as_they_are(toy, do):
    small, _ = do(Quantize(id="q", type="Q4_0", embedding="Q5_1"), toy)
    made, _ = do(TrimVocabulary(id="t", data="c"), small)
    assert ModelFile(made.model_file).tensors["token_embd.weight"].element == "Q5_1"


def test_a_count_that_no_token_reaches_is_refused(toy, do):
    with pytest.raises(RecipeInvalidError, match="lower min_count"):
        do(TrimVocabulary(id="t", data="c", min_count=10**9), toy)


def test_ancestors_of_what_stays_stay():
    letters = [chr(97 + i) for i in range(26)]
    pairs = [first + second for first in letters for second in letters]
    tokens = [*letters, *pairs, "abcd", "wxyz"]
    merges = [*(f"{p[0]} {p[1]}" for p in pairs), "ab cd", "wx yz"]
    left, merges_left = staying(tokens, merges, np.ones(len(tokens), np.int64), {tokens.index("wxyz")})
    kept = {tokens[i] for i in left}
    assert {"wxyz", "wx", "yz", *letters} <= kept
    assert "abcd" not in kept
    assert "wx yz" in merges_left
    assert "ab cd" not in merges_left
    assert len(left) % 64 == 0


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
@pytest.mark.parametrize("how", [{"share": 0.5}, {"pattern": "2:4"}])
def test_half_of_every_row_is_zero(method, how, toy, do):
    importance, _ = do(Importance(id="i", data="c", tokens=300), toy)
    step = Sparsify(id="s", method=method, importance="i" if method == "wanda" else "", **how)
    made, facts = do(step, toy, importance=importance)
    assert facts["zero_share"] == 0.5
    name = "blk.0.ffn_down.weight"
    values, before = (ModelFile(a.model_file).values(name) for a in (made, toy))
    assert ((values == 0).sum(axis=1) == 64).all()
    assert np.array_equal(values[values != 0], before[values != 0])
    if "pattern" in how:
        assert ((values.reshape(64, 32, 4) != 0).sum(axis=2) == 2).all()
    weights = read_importance(importance)[name] if method == "wanda" else np.ones(128, np.float32)
    scores = np.abs(before) * np.sqrt(weights)
    if "share" in how:
        kept_least = np.where(values != 0, scores, np.inf).min(axis=1)
        assert (kept_least >= np.where(values == 0, scores, 0).max(axis=1)).all()
    assert np.array_equal(
        ModelFile(made.model_file).values("token_embd.weight"),
        ModelFile(toy.model_file).values("token_embd.weight"),
    )


def test_least_keeps_the_largest():
    scores = np.array([[1, 5, 2, 4, 3, 0, 7, 6]], np.float32)
    assert least(scores, 0.25, "").tolist() == [[True, False, False, False, False, True, False, False]]
    assert least(scores, 0, "1:4").tolist() == [[True, False, True, True, True, True, False, True]]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Sparsify(id="s"), "give either share"),
        (Sparsify(id="s", share=0.2, pattern="2:4"), "give either share"),
        (Sparsify(id="s", share=0.2, method="wanda"), "wanda needs importance"),
        (Sparsify(id="s", pattern="4:4"), "keeps all or nothing"),
        (Sparsify(id="s", pattern="0:4"), "keeps all or nothing"),
        (Sparsify(id="s", pattern="2:7"), "no multiple of 7"),
    ],
)
def test_what_makes_no_sense_is_refused(step, says, toy, do):
    with pytest.raises(RecipeInvalidError, match=says):
        do(step, toy)
