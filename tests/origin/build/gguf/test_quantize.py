"""`dequantize`, `importance` and `quantize` on a toy: types as ordered, figures used, refusals that help."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from origin.build.gguf.importance import read_importance, read_influence
from origin.build.gguf.llama_quantize import Order, quantize_apart
from origin.build.gguf.model_file import TYPE_IDS, ModelFile
from origin.build.gguf_steps import Dequantize, Importance, Quantize
from origin.errors import RecipeInvalidError, StepFailedError


def elements(artifact):
    return {t.name: t.element for t in ModelFile(artifact.model_file)}


def test_types_are_as_ordered(toy, do):
    step = Quantize(id="q", type="Q4_0", embedding="Q5_1", tensors={"ffn_down": "Q8_0"})
    made, facts = do(step, toy)
    found = elements(made)
    assert found["token_embd.weight"] == "Q5_1"
    assert {found[n] for n in found if "ffn_down" in n} == {"Q8_0"}
    assert {found[n] for n in found if "attn_" in n and "norm" not in n} == {"Q4_0"}
    assert facts["bytes_by_type"]["Q5_1"] == 319 * 64 // 32 * 24


def test_importance_changes_what_is_rounded(toy, do):
    importance, facts = do(Importance(id="i", data="calib", tokens=600), toy)
    assert facts["matrices_count"] == 16  # 7 of each layer, and both names of the head
    plain, _ = do(Quantize(id="a", type="Q4_0"), toy)
    weighed, _ = do(Quantize(id="b", type="Q4_0", importance="i"), toy, importance=importance)
    name, source = "blk.1.ffn_down.weight", ModelFile(toy.model_file)
    weights = read_importance(importance)[name]

    def cost(artifact):
        return float(
            ((ModelFile(artifact.model_file).values(name) - source.values(name)) ** 2 @ weights).sum()
        )

    assert cost(weighed) < 0.9 * cost(plain)


def test_influence_is_between_nothing_and_two(toy, do):
    importance, _ = do(Importance(id="i", data="calib", tokens=600), toy)
    influence = read_influence(importance)
    assert influence.shape == (2,)
    assert ((influence > 0) & (influence < 2)).all()


def test_importance_is_the_mean_square(toy, do):
    importance, _ = do(Importance(id="i", data="calib", tokens=600), toy)
    norm = ModelFile(toy.model_file).values("blk.0.attn_norm.weight")
    squares = read_importance(importance)["blk.0.attn_q.weight"]
    # What comes out of an RMS norm has a mean square of one before it is weighted.
    assert np.isclose((squares / norm**2).mean(), 1, atol=0.01)


def test_dequantized_is_what_the_blocks_say(toy, do):
    small, _ = do(Quantize(id="q", type="Q8_0"), toy)
    back, facts = do(Dequantize(id="d"), small)
    assert set(elements(back).values()) == {"F16", "F32"}
    assert facts["dequantized_count"] == 15
    name = "blk.0.ffn_up.weight"
    wanted = ModelFile(small.model_file).values(name).astype(np.float16)
    assert np.array_equal(ModelFile(back.model_file).values(name), wanted.astype(np.float32))


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Quantize(id="q", type="Q4_KM"), "did you mean Q4_K_M"),
        (Quantize(id="q", type="Q4_0", embedding="Q5-1"), "did you mean Q5_1"),
        (Quantize(id="q", type="Q4_0", tensors={"a(": "Q8_0"}), "no regular expression"),
        (Quantize(id="q", type="Q4_0", tensors={"a": "Q77"}), 'tensors."a"'),
    ],
)
def test_wrong_types_are_refused(step, says, toy, do):
    with pytest.raises(RecipeInvalidError, match=says):
        do(step, toy)


def test_a_quantized_source_is_refused(toy, do):
    small, _ = do(Quantize(id="q", type="Q8_0"), toy)
    with pytest.raises(RecipeInvalidError, match="put a dequantize step before it"):
        do(Quantize(id="r", type="Q4_0"), small)


def test_what_llama_cpp_cannot_do_is_said_with_its_words(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(StepFailedError, match=r"could not quantize bad\.gguf"):
        quantize_apart(
            Order(
                source=str(tmp_path / "bad.gguf"), target=str(tmp_path / "o.gguf"), file_type=TYPE_IDS["Q4_0"]
            )
        )


def test_its_process_ends_with_the_one_that_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "endless.gguf")  # that nobody writes: it would be opened for ever
    order = Order(
        source=str(tmp_path / "endless.gguf"), target=str(tmp_path / "o.gguf"), file_type=TYPE_IDS["Q4_0"]
    )
    command = [sys.executable, "-m", "origin.build.gguf.llama_quantize"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            child.stdin.write(msgspec.json.encode(order) + b"\n")
            child.stdin.close()  # as when the other end is killed
            assert child.wait(120)
        finally:
            child.kill()
