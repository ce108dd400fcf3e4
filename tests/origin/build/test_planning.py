"""Plans: what is refused before any work, and what is known of work to be done."""

from __future__ import annotations

import hashlib

import pytest

from origin.build.keys import module_version
from origin.build.planning import plan_build
from origin.build.recipe import parse_recipe
from origin.build.source import find_source
from origin.errors import RecipeInvalidError
from registry.errors import InputInvalidError
from tests.origin.build.toy_builds import HEAD
from tests.origin.build.toy_steps import TOYS

STEPS = """\
[[step]]
id = "a"
op = "copy"
data = "calib"
[[step]]
id = "b"
op = "copy"
[[variant]]
name = "small"
from = "a"
[[variant]]
name = "best"
from = "b"
"""
JUDGED = """\
[data.eval]
files = ["eval.txt"]
[evaluate]
texts = "eval"
"""


def test_texts_that_are_learned_from_are_not_judged_on(toys):
    toys.plan(STEPS + JUDGED)
    (toys.folder / "eval.txt").write_text("four\n\ntwo\n\nfive")
    with pytest.raises(RecipeInvalidError, match=r"1 of its 3 documents are in \[data.calib\] too"):
        toys.plan(STEPS + JUDGED)
    toys.plan(STEPS + JUDGED, only=["best"])  # which learned from nothing


def test_pins_are_held(toys, monkeypatch):
    plan = toys.plan(STEPS)
    sha256 = plan.texts["calib"].sha256
    source = 'source = "model.gguf"\n'
    digest = hashlib.sha256(b"GGUF root").hexdigest()
    for head, words in (
        (HEAD.replace(source, f'{source}sha256 = "{digest}"\n'), None),
        (HEAD.replace(source, f'{source}sha256 = "{"0" * 64}"\n'), "this is another model"),
        (HEAD + f'sha256 = "{sha256}"\n', None),
        (HEAD + f'sha256 = "{"0" * 64}"\n', "these are other texts"),
    ):
        monkeypatch.setattr("tests.origin.build.toy_builds.HEAD", head)
        if words is None:
            toys.plan(STEPS)
        else:
            with pytest.raises(RecipeInvalidError, match=words):
                toys.plan(STEPS)


def test_gates_are_checked_before_any_work(toys):
    with pytest.raises(RecipeInvalidError, match="kl_men"):
        toys.plan(STEPS + JUDGED + "[gate]\nkl_men = { max = 0.1 }\n")
    with pytest.raises(RecipeInvalidError, match="bets"):
        toys.plan(STEPS + JUDGED + '[gate.variant.small]\ndecode_speedup = { min = 1.1, vs = "bets" }\n')


def test_a_variant_alone_brings_what_it_is_held_against(toys):
    gate = '[gate.variant.small]\ndecode_speedup = { min = 1.1, vs = "best" }\n'
    plan = toys.plan(STEPS + JUDGED + gate, only=["small"])
    assert [it.table.name for it in plan.variants] == ["small", "best"]
    assert plan.variants[0].siblings == {"best": plan.keys["b"]}
    plan = toys.plan(STEPS + JUDGED + gate, only=["best"])
    assert [it.table.name for it in plan.variants] == ["best"]
    assert [it.step.id for it in plan.steps] == ["b"]
    with pytest.raises(InputInvalidError, match="no variant 'other'; it has: best, small"):
        toys.plan(STEPS, only=["other"])


def test_an_evaluation_is_another_when_anything_that_it_depends_on_is(toys):
    first = toys.plan(STEPS + JUDGED)
    assert first.variants[0].evaluation != first.variants[1].evaluation
    assert toys.plan(STEPS + JUDGED).variants[0].evaluation == first.variants[0].evaluation
    (toys.folder / "eval.txt").write_text("six\n\nseven")
    assert toys.plan(STEPS + JUDGED).variants[0].evaluation != first.variants[0].evaluation
    slow = toys.plan(STEPS + JUDGED + "speeds = false\n")
    assert slow.variants[0].evaluation not in {it.evaluation for it in first.variants}


def test_an_evaluation_from_before_memory_was_measured_is_made_anew(toys, monkeypatch):
    """It would be read without complaint, and the needs of what is published would be guessed."""
    with monkeypatch.context() as before:
        of_modules = {"origin.build.evaluate.evaluation": 2}
        before.setattr(
            "origin.build.planning.module_version",
            lambda module: of_modules.get(module) or module_version(module),
        )
        (kept, _) = toys.plan(STEPS + JUDGED).variants
        place = toys.workspace.evaluation(kept.evaluation)
        place.parent.mkdir(parents=True)
        place.write_bytes(b"{}")
        assert toys.plan(STEPS + JUDGED).variants[0].evaluated
    (now, _) = toys.plan(STEPS + JUDGED).variants
    assert now.evaluation != kept.evaluation
    assert not now.evaluated


def test_a_source_may_be_named_on_the_command_line(toys):
    other = toys.folder / "other.gguf"
    other.write_bytes(b"GGUF other")
    assert toys.plan(STEPS, source_path=other).source.weights_bytes == 10
    bare = HEAD.replace('source = "model.gguf"\n', "") + STEPS
    recipe = parse_recipe(bare.encode(), toys.folder / "r.toml", operations=TOYS)
    with pytest.raises(RecipeInvalidError, match="names no source; say where it is"):
        plan_build(recipe, toys.workspace)


def test_texts_that_cannot_be_read(toys):
    (toys.folder / "calib.txt").unlink()
    with pytest.raises(RecipeInvalidError, match=r"recipe.toml: .*calib.txt"):
        toys.plan(STEPS)


class TestSource:
    def directory(self, folder, **files):
        folder.mkdir()
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(content)
        return folder

    def test_kinds(self, tmp_path):
        rest = {"tokenizer__json": "{}", "model__safetensors": "x"}
        bert = self.directory(
            tmp_path / "b", config__json='{"model_type": "bert"}', notes__md="no part", **rest
        )
        found = find_source(bert)
        assert found.kind == "bert"
        assert sorted(found.files) == ["config.json", "model.safetensors", "tokenizer.json"]
        llama = self.directory(tmp_path / "l", config__json='{"model_type": "llama"}', **rest)
        assert find_source(llama).kind == "llama"
        onnx = find_source(
            self.directory(tmp_path / "o", config__json="{}", tokenizer__json="{}", net__onnx="x")
        )
        assert (onnx.kind, onnx.files["model.onnx"].name) == ("onnx", "net.onnx")

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({}, "has 0 .onnx files and no model.safetensors"),
            ({"a__onnx": "x", "b__onnx": "x"}, "has 2 .onnx files"),
            ({"a__onnx": "x"}, "has no config.json"),
            ({"a__onnx": "x", "config__json": "{}"}, "has no tokenizer.json"),
            ({"model__safetensors": "x", "config__json": "{", "tokenizer__json": "{}"}, "is not JSON"),
            ({"model__safetensors": "x", "config__json": "[]", "tokenizer__json": "{}"}, "says model_type None"),
            ({"model__safetensors": "x", "config__json": '{"model_type": "gpt2"}', "tokenizer__json": "{}"}, "'gpt2'"),
        ],
    )  # fmt: skip
    def test_what_is_no_source(self, tmp_path, files, words):
        with pytest.raises(RecipeInvalidError, match=words):
            find_source(self.directory(tmp_path / "m", **files))

    def test_paths_that_are_none(self, tmp_path):
        (tmp_path / "x.bin").write_bytes(b"x")
        with pytest.raises(RecipeInvalidError, match="is no source"):
            find_source(tmp_path / "x.bin")
        with pytest.raises(RecipeInvalidError, match="there is no file or directory"):
            find_source(tmp_path / "y")
