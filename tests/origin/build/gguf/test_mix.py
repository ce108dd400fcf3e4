"""A mix fits its budget, spends it where it matters, and goes on where it was cut off."""

from __future__ import annotations

import re

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from origin.build.gguf.blocks import BLOCK_TYPES
from origin.build.gguf.model_file import ModelFile, matrices
from origin.build.gguf.scale_search import searched
from origin.build.gguf.sensitivity import Group, groups_of, measure
from origin.build.gguf.trial import open_trial
from origin.build.gguf.writing import NewTensor, edited_fields, kept, write_model
from origin.build.gguf_steps import Compensate, Mix, Quantize
from origin.build.step import Artifact
from origin.errors import RecipeInvalidError


def size_mb(artifact):
    return artifact.model_file.stat().st_size / 1e6


def test_it_fits_and_spends_its_budget(toy, do):
    low, _ = do(Mix(id="m", data="c", budget_mb=0.1, tokens=300, trial_tokens=64, bands=2), toy)
    high, facts = do(Mix(id="m", data="c", budget_mb=0.115, tokens=300, trial_tokens=64, bands=2), toy)
    assert size_mb(low) <= 0.1
    assert 0.1 < size_mb(high) <= 0.115
    assert len(facts["groups"]) == 7 * 2 + 1
    assert sum(facts["bytes_by_type"].values()) < 115_000


def test_a_budget_too_small_names_what_would_do(toy, do):
    with pytest.raises(RecipeInvalidError, match=r"budget_mb 0\.05 is too little") as refused:
        do(Mix(id="m", data="c", budget_mb=0.05), toy)
    least = float(re.search(r"takes ([\d.]+)", str(refused.value))[1])
    assert 0.05 < least < 0.1


def test_a_quantized_source_is_refused(toy, do):
    small, _ = do(Quantize(id="q", type="Q8_0"), toy)
    with pytest.raises(RecipeInvalidError, match="dequantize"):
        do(Mix(id="m", data="c", budget_mb=9), small)


def test_a_source_in_bf16_is_not_quantized(toy, do, tmp_path):
    # It was refused with the advice to dequantize it, which leaves BF16 as it is.
    exact = ModelFile(toy.model_file)

    def brief(tensor):
        if len(tensor.dimensions) == 1:
            return kept(exact, tensor.name)
        return NewTensor(
            tensor.name,
            tensor.dimensions,
            "BF16",
            lambda: quantize(exact.values(tensor.name), GGMLQuantizationType.BF16),
        )

    source = Artifact("3" * 64, "gguf", tmp_path)
    write_model(source.model_file, edited_fields(exact, {}), [brief(tensor) for tensor in exact])
    made, facts = do(Mix(id="m", data="c", budget_mb=0.115, tokens=300, trial_tokens=64, bands=1), source)
    assert set(facts["bytes_by_type"]) <= {"IQ4_NL", "Q4_0", "Q5_0", "Q5_1", "Q8_0"}
    assert all(0 < group["kl_as_smallest"] < 1 for group in facts["groups"].values())
    assert size_mb(made) <= 0.115


def test_a_group_costs_in_its_smallest_type_what_the_model_then_loses(toy, texts, tmp_path):
    model = ModelFile(toy.model_file)
    groups = [
        Group(kind, tuple(f"blk.{layer}.{kind}.weight" for layer in range(2)), ("Q4_0", "Q8_0"))
        for kind in ("attn_q", "ffn_down")
    ]
    costs = measure(
        model, groups, lambda _, columns: np.eye(columns, dtype=np.float32), texts.texts, limit_tokens=200,
        threads_count=1, report=lambda _: None, kept_in=tmp_path,
    )  # fmt: skip
    with open_trial(toy.model_file, texts.texts, limit_tokens=200, threads_count=1) as trial:
        for group in groups:
            values = {name: model.values(name) for name in group.matrices}
            ones = {name: np.ones(matrix.shape[1], np.float32) for name, matrix in values.items()}
            with trial.changed(
                {name: searched(BLOCK_TYPES["Q4_0"], values[name], ones[name]).values() for name in values}
            ):
                assert costs[group.name]["Q4_0"].kl == pytest.approx(trial.divergence(), rel=0.01)
            assert 0 < costs[group.name]["Q8_0"].kl < 0.05 * costs[group.name]["Q4_0"].kl


def test_groups_are_by_kind_and_band():
    names = [
        "token_embd.weight",
        *(f"blk.{i}.{kind}.weight" for i in range(7) for kind in ("attn_q", "ffn_up")),
    ]
    groups = groups_of(names, 7, 3, lambda _: ["Q8_0", "Q4_0"])
    assert [group.name for group in groups] == [
        "token_embd.weight", "attn_q 0-2", "ffn_up 0-2", "attn_q 3-4", "ffn_up 3-4", "attn_q 5-6", "ffn_up 5-6",
    ]  # fmt: skip
    assert groups[1].matrices == ("blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.2.attn_q.weight")
    assert groups[1].types == ("Q4_0", "Q8_0")


def test_compensation_keeps_more_than_llama_cpps_rounding(toy, do, texts):
    plain, _ = do(Quantize(id="q", type="Q4_0", embedding="Q8_0"), toy)
    better, facts = do(Compensate(id="c", type="Q4_0", data="c", tokens=600, tensors={"attn_v": "Q8_0"}), toy)
    source = ModelFile(toy.model_file)
    assert ModelFile(better.model_file).tensors["blk.0.attn_v.weight"].element == "Q8_0"
    assert ModelFile(better.model_file).tensors["blk.0.attn_k.weight"].element == "Q4_0"
    assert facts["relative_losses"]["blk.0.ffn_up.weight"] < 0.02
    assert source.tensors.keys() == ModelFile(better.model_file).tensors.keys()

    def apart(artifact):
        file = ModelFile(artifact.model_file)
        with trial.changed({t.name: file.values(t.name) for t in matrices(file)}):
            return trial.divergence()

    with open_trial(toy.model_file, texts.texts, limit_tokens=600, threads_count=1) as trial:
        assert apart(better) < 0.6 * apart(plain)


@pytest.mark.parametrize(
    "step",
    [
        Compensate(id="c", type="Q4_0", data="c", tokens=300),
        Mix(id="m", data="c", budget_mb=0.115, tokens=300, trial_tokens=64, bands=1),
    ],
)
def test_what_an_interruption_leaves_is_used(step, toy, do, monkeypatch, tmp_path):
    from origin.build.gguf import rounded_file

    whole, _ = do(step, toy)
    rounded, broken_off = [], tmp_path / "checkpoints-1"

    def counted(element, values, gram, sweeps):
        if len(rounded) == 9 and not (broken_off / "again").exists():
            raise KeyboardInterrupt
        rounded.append(element)
        return once(element, values, gram, sweeps)

    once = rounded_file.round_matrix
    monkeypatch.setattr(rounded_file, "round_matrix", counted)
    with pytest.raises(KeyboardInterrupt):
        do(step, toy)
    kept = sorted(broken_off.glob("*.npz"))
    assert len(kept) == 9
    kept[0].write_bytes(kept[0].read_bytes()[:-100])  # a power cut
    (broken_off / "again").touch()
    again, _ = do(step, toy, checkpoints=broken_off)
    assert len(rounded) == 9 + 1 + (15 - 9)
    assert again.model_file.read_bytes() == whole.model_file.read_bytes()


@pytest.mark.parametrize(
    "step",
    [
        Compensate(id="c", type="Q4_0", data="c"),
        Mix(id="m", data="c", budget_mb=9),
    ],
)
def test_models_that_cannot_be_rounded_are_refused(step, tmp_path, do):
    from origin.build.gguf.writing import new_field, plain, write_model
    from origin.build.step import Artifact

    for shape, says in (((2, 3, 64), "several experts"), ((3, 48), "whole blocks of 32")):
        tensor = plain("blk.0.ffn_up_exps.weight", shape, lambda shape=shape: np.ones(shape))
        write_model(tmp_path / "model.gguf", [new_field("general.architecture", "x")], [tensor])
        with pytest.raises(RecipeInvalidError, match=says):
            do(step, Artifact("0" * 64, "gguf", tmp_path))
