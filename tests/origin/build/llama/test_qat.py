"""The operation `qat` on a toy."""

import numpy as np
import pytest

from origin.build.gguf.forward import open_forward
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf_steps import Quantize
from origin.build.llama.qat import check
from origin.build.llama_steps import Qat
from origin.errors import RecipeInvalidError
from tests.origin.build.gguf.conftest import toy_artifact
from tests.origin.build.toy_llama import ToyShape

RATES = {
    "steps_count": 30,
    "rows_per_step": 2,
    "row_tokens": 32,
    "code_rate": 0.01,
    "scale_rate": 0.003,
    "embedding_rate": 0.01,
}


def divergence(path, reference, texts):
    with (
        open_forward(path, chunk_tokens=64, threads_count=1) as one,
        open_forward(reference, chunk_tokens=64, threads_count=1) as other,
    ):
        found = []
        for text in texts.texts[:8]:
            tokens = one.tokens(text)[:64]
            own, theirs = _log_softmax(one.logits(tokens).copy()), _log_softmax(other.logits(tokens).copy())
            found.append((np.exp(theirs) * (theirs - own)).sum(1).mean())
    return float(np.mean(found))


def _log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def test_what_it_makes_is_nearer_and_of_the_same_types(toy, do, texts):
    quantized, _ = do(Quantize(id="q", type="Q4_0", embedding="Q5_1"), toy)
    step = Qat(id="t", source="q", data="calib", **RATES)
    made, facts = do(step, quantized, teacher=toy)
    before, after = ModelFile(quantized.model_file), ModelFile(made.model_file)
    assert [(t.name, t.element, t.dimensions) for t in before] == [
        (t.name, t.element, t.dimensions) for t in after
    ]
    assert divergence(made.model_file, toy.model_file, texts) < 0.9 * divergence(
        quantized.model_file, toy.model_file, texts
    )
    assert facts["trained"] == ["Q4_0", "Q5_1"]
    assert facts["kl_last"] < facts["kl_first"]
    assert facts["tokens_count"] == 30 * 2 * 32
    changed = [t.name for t in before if not np.array_equal(before.raw(t.name), after.raw(t.name))]
    assert set(changed) == set(before.tensors)


def test_the_same_seed_gives_the_same_bytes(toy, do):
    quantized, _ = do(Quantize(id="q", type="IQ4_NL"), toy)
    step = Qat(id="t", source="q", data="calib", **RATES)
    first, second = (do(step, quantized, teacher=toy)[0].model_file.read_bytes() for _ in range(2))
    assert first == second


def test_eight_bits_stay_as_they_are(toy, do):
    quantized, _ = do(Quantize(id="q", type="Q4_0", embedding="Q8_0"), toy)
    made, _ = do(Qat(id="t", source="q", data="calib", **RATES), quantized, teacher=toy)
    name = "token_embd.weight"
    assert np.array_equal(ModelFile(made.model_file).raw(name), ModelFile(quantized.model_file).raw(name))


def test_a_model_with_nothing_to_train_is_refused(toy):
    with pytest.raises(
        RecipeInvalidError, match=r"nothing to train: the tensors are of F16, F32; quantize to one of"
    ):
        check(Qat(id="t", data="calib"), toy)


def test_weights_of_another_model_are_refused(toy, do, tmp_path):
    quantized, _ = do(Quantize(id="q", type="Q4_0"), toy)
    other = toy_artifact(tmp_path / "other", ToyShape(ffn_width=96))
    with pytest.raises(RecipeInvalidError, match="missing or of another size; name the step"):
        do(Qat(id="t", source="q", data="calib", **RATES), quantized, teacher=toy, weights=other)


def test_a_teacher_of_another_vocabulary_is_refused(toy, do, tmp_path):
    quantized, _ = do(Quantize(id="q", type="Q4_0"), toy)
    other = toy_artifact(tmp_path / "other", ToyShape(merges=20))
    with pytest.raises(
        RecipeInvalidError, match="a vocabulary of 319 tokens cannot learn from a teacher that has 279"
    ):
        do(Qat(id="t", source="q", data="calib", **RATES), quantized, teacher=other)
