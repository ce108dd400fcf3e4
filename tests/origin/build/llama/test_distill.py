"""The operation `distill` on a toy."""

import numpy as np
import pytest

from origin.build.gguf.model_file import ModelFile
from origin.build.llama.distill import check
from origin.build.llama_steps import Distill
from origin.errors import RecipeInvalidError
from tests.origin.build.gguf.conftest import toy_artifact
from tests.origin.build.llama.test_qat import divergence
from tests.origin.build.toy_llama import ToyShape

SHORT = {"steps_count": 20, "rows_per_step": 2, "row_tokens": 32, "rate": 0.02, "bridge_rows": 0}


@pytest.fixture
def deep(tmp_path):
    return toy_artifact(tmp_path / "deep", ToyShape(layers=4), seed=2)


def test_a_model_of_fewer_layers_learns(deep, do, texts):
    step = Distill(id="d", data="calib", layers=(0, 1, 3), hidden_share=0.5, **SHORT)
    made, facts = do(step, deep, teacher=deep)
    untrained, _ = do(
        Distill(id="d", data="calib", layers=(0, 1, 3), **(SHORT | {"steps_count": 1, "rate": 0.0})),
        deep,
        teacher=deep,
    )
    model = ModelFile(made.model_file)
    assert model.layers_count == 3
    assert len(model.tensors) == len(ModelFile(deep.model_file).tensors) - 9
    assert {t.element for t in model} == {"F16", "F32"}
    own = ModelFile(untrained.model_file).values("blk.2.ffn_up.weight")
    assert np.array_equal(own, ModelFile(deep.model_file).values("blk.3.ffn_up.weight"))
    assert divergence(made.model_file, deep.model_file, texts) < 0.9 * divergence(
        untrained.model_file, deep.model_file, texts
    )
    assert facts["kl_last"] < facts["kl_first"]


def test_a_copied_layer_is_known_again_after_pruning(deep, do, monkeypatch):
    pruned, _ = do(
        Distill(id="d", data="calib", layers=(0, 2), **(SHORT | {"steps_count": 1, "rate": 0.0})),
        deep,
        teacher=deep,
    )
    seen = []

    def watch(student, shape, teacher, lessons, **kept):
        seen.append(list(lessons.layers_of_teacher))
        return train(student, shape, teacher, lessons, **kept)

    from origin.build.llama import distill
    from origin.build.llama.training import train

    monkeypatch.setattr(distill, "train", watch)
    do(Distill(id="h", data="calib", hidden_share=1.0, **(SHORT | {"steps_count": 1})), pruned, teacher=deep)
    assert seen == [[1, 3]]


def test_a_bridge_alone_brings_it_nearer(deep, do, texts):
    short = SHORT | {"steps_count": 0}
    nothing = SHORT | {"steps_count": 1, "rate": 0.0}
    plain, _ = do(Distill(id="d", data="calib", layers=(0, 1, 3), **nothing), deep, teacher=deep)
    step = Distill(id="d", data="calib", layers=(0, 1, 3), **(short | {"bridge_rows": 30}))
    bridged, facts = do(step, deep, teacher=deep)
    assert facts["bridged"] == ["blk.1.ffn_down.weight"]
    assert facts["tokens_count"] == facts["kl_first"] == facts["kl_last"] == 0
    reference = deep.model_file
    assert divergence(bridged.model_file, reference, texts) < 0.9 * divergence(
        plain.model_file, reference, texts
    )
    after, _ = do(Distill(id="h", data="calib", **(short | {"bridge_rows": 30})), plain, teacher=deep)
    assert after.model_file.read_bytes() == bridged.model_file.read_bytes()


def test_a_bridge_stands_for_the_last_layers_too(deep, do, texts):
    nothing = SHORT | {"steps_count": 1, "rate": 0.0}
    plain, _ = do(Distill(id="d", data="calib", layers=(0, 1), **nothing), deep, teacher=deep)
    step = Distill(id="d", data="calib", layers=(0, 1), **(SHORT | {"steps_count": 0, "bridge_rows": 30}))
    bridged, facts = do(step, deep, teacher=deep)
    assert facts["bridged"] == ["blk.1.ffn_down.weight"]
    assert divergence(bridged.model_file, deep.model_file, texts) < 0.9 * divergence(
        plain.model_file, deep.model_file, texts
    )


def test_a_whole_model_needs_no_bridge(deep, do):
    made, facts = do(
        Distill(id="d", data="calib", **(SHORT | {"steps_count": 1, "bridge_rows": 4})), deep, teacher=deep
    )
    assert facts["bridged"] == []
    assert ModelFile(made.model_file).layers_count == 4


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((0, 4), "has the layers 0 to 3, and 4 is asked for"),
        ((-1, 2), "has the layers 0 to 3, and -1 is asked for"),
        ((2, 1), "in their order"),
        ((1, 1), "once each"),
    ],
)
def test_layers_that_there_are_not_are_refused(deep, layers, message):
    with pytest.raises(RecipeInvalidError, match=message):
        check(Distill(id="d", data="calib", layers=layers), deep)


def test_rows_longer_than_the_context_are_refused(deep):
    with pytest.raises(RecipeInvalidError, match="rows of 513 tokens do not fit the model's context of 512"):
        check(Distill(id="d", data="calib", row_tokens=513), deep)
