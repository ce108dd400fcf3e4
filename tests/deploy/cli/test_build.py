"""`edgeward build` by the command: a toy of the llama family quantized, judged, published, pulled and rebuilt."""

from __future__ import annotations

import json
import random

import pytest

from deploy.cli import main
from origin.build.evaluate.peak_memory import peak_bytes
from tests.origin.build.toy_llama import write_toy_llama
from tests.origin.build.toy_recipes import head, step, texts, variant

RECIPE = (
    head("toy")
    + texts("judge", "judge.txt")
    + step("eight", "quantize", type="Q8_0")
    + step("four", "quantize", type="Q4_0")
    + variant("q8", "eight")
    + variant("q4", "four")
    + """\
[evaluate]
texts = "judge"
tokens_count = 512
speeds = false
[gate]
kl_mean = { max = 9.0 }
[gate.variant.q8]
kl_mean = { max = 0.05 }
"""
)


@pytest.fixture
def folder(tmp_path):
    write_toy_llama(tmp_path / "toy.gguf")
    rng = random.Random(3)
    words = ["tin", "shore", "a", "note", "rest", "old", "sun", "that", "land", "rain", "in", "the"]
    paragraphs = [" ".join(rng.choices(words, k=60)) + "." for _ in range(12)]
    (tmp_path / "judge.txt").write_text("\n\n".join(paragraphs))
    (tmp_path / "toy.toml").write_text(RECIPE)
    (tmp_path / "store").mkdir()
    return tmp_path


@pytest.fixture
def edgeward(capsys, folder, signing):
    def edgeward(*words, code=0, plain=False):
        where = ["--workspace", str(folder / "ws")] if words[0] == "build" else []
        assert main([*words, *where, *([] if plain else ["--json"])]) == code
        out = capsys.readouterr()
        return out.out if plain else json.loads(out.out) if out.out else out.err

    return edgeward


def test_from_a_recipe_to_a_release_that_is_proven(edgeward, folder):
    store = f"file://{folder}/store"
    plan = edgeward("build", "toy.toml", "--plan")
    assert [(step["id"], step["state"]) for step in plan["steps"]] == [("eight", "to_do"), ("four", "to_do")]

    assert not (folder / "ws").exists(), "to look changes nothing"
    assert "there is no workspace" in edgeward("build", "toy.toml", "--clean", code=1)

    only = edgeward("build", "toy.toml", "--only", "q8", "--out", "made")
    (q8,) = only["variants"]
    assert q8["passed"]
    assert (folder / "made/q8/model.gguf").stat().st_size == q8["weights_bytes"]
    assert (folder / "made/report.html").is_file()
    assert only["published"] is None

    done = edgeward("build", "toy.toml", "--publish", "--endpoint", store)
    assert [it["name"] for it in done["variants"]] == ["q8", "q4"]
    assert (done["published"]["outcome"], done["published"]["channel"]) == ("published", "stable")
    assert done["variants"][0]["evaluation"]["figures"]["kl_mean"]["value"] < 0.05

    (release,) = edgeward("models", "--endpoint", store)["releases"]
    for listed, made in zip(release["variants"], done["variants"], strict=True):
        measured = made["evaluation"]["figures"].get("memory_bytes")
        assert measured or not peak_bytes(), "this system tells it"
        assert not measured or listed["memory_bytes"] == measured["value"] > listed["total_bytes"]

    edgeward("pull", "toy", "--to", "here", "--store", store)
    told = edgeward("verify", "here", "--lineage")
    lineage = told["variants"]["q8"]["lineage"]
    assert lineage["recipe_sha256"] == done["recipe_sha256"]
    assert lineage["gates"][0] == {"figure": "kl_mean", "max": 0.05, "passed": True}
    words = edgeward("verify", "here", "--lineage", plain=True)
    assert "eight: quantize of source type=Q8_0" in words
    assert "max 0.05: passed" in words

    proof = edgeward("verify", "here", "--rederive", "toy.gguf")["rederived"]
    assert {it["variant"]: it["different"] for it in proof} == {"q8": [], "q4": []}
    assert "proven: q8" in edgeward("verify", "here", "--rederive", "toy.gguf", plain=True)

    (folder / "toy.toml").write_text(RECIPE.replace("max = 0.05", "max = 0.06"))
    assert edgeward("build", "toy.toml", "--clean")["freed_bytes"] >= 0
    assert all(step["state"] == "done" for step in edgeward("build", "toy.toml", "--plan")["steps"])


def test_a_type_that_is_none_is_refused_before_the_step_that_it_waits_for(edgeward, folder):
    recipe = RECIPE.replace('id = "four"\nop = "quantize"', 'id = "four"\nop = "quantize"\nfrom = "plain"')
    recipe = recipe.replace("[[variant]]", '[[step]]\nid = "plain"\nop = "dequantize"\n[[variant]]', 1)
    (folder / "toy.toml").write_text(recipe.replace('"Q4_0"', '"Q4O_0"'))
    told = edgeward("build", "toy.toml", code=1)
    assert "step four: type 'Q4O_0' is no type of llama.cpp; did you mean Q4_0?" in told
    assert all(step["state"] == "to_do" for step in edgeward("build", "toy.toml", "--plan")["steps"])


def test_what_a_gate_refuses_is_not_published(edgeward, folder):
    (folder / "toy.toml").write_text(RECIPE.replace("max = 0.05", "max = 0.0000001"))
    store = f"file://{folder}/store"
    told = edgeward("build", "toy.toml", "--publish", "--endpoint", store, code=1)
    assert "toy@1.0.0 is not published: q8: " in told
    assert "kl_mean" in told
    # Tried whether it can be written at all, before the work; of a release there is not a byte.
    assert [path.name for path in (folder / "store").rglob("*") if path.is_file()] == [".lock"]
    words = edgeward("build", "toy.toml", code=1, plain=True)
    assert "REFUSED" in words
    assert "refused  q8: " in words


@pytest.mark.parametrize(
    ("old", "new", "flags", "words"),
    [
        ('license = "Apache-2.0"\n', "", [], "line 2: [model]: license is missing"),
        ('type = "Q8_0"', 'tipe = "Q8_0"', [], "line 12: [[step]] eight: unknown key 'tipe'; did you mean 'type'?"),
        ('op = "quantize"', 'op = "export_onnx"', [], "eight"),
        ("[evaluate]", "[data.unused]\nfiles = ['x']\n[evaluate]", ["--source", "no.gguf"], "no.gguf"),
        ("[evaluate]", "[evaluate]", ["--publish", "--only", "q8"], "--publish takes all variants"),
        ("[evaluate]", "[evaluate]", ["--channel", "x"], "go with --publish"),
        ("[evaluate]", "[evaluate]", ["--threads", "0"], "a number from 1 on"),
        ("[evaluate]", "[evaluate]", ["--only", "q9"], "no variant 'q9'"),
        (RECIPE[RECIPE.index("[evaluate]") :], "", ["--publish"], "has no [evaluate]"),
        ('texts = "judge"', 'texts = "jude"', [], "did you mean 'judge'?"),
        ("kl_mean = { max = 9.0 }", "kl_maen = { max = 9.0 }", [], "kl_mean"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(edgeward, folder, old, new, flags, words):
    assert old in RECIPE
    (folder / "toy.toml").write_text(RECIPE.replace(old, new))
    told = edgeward("build", "toy.toml", *flags, code=1)
    assert words in told
    assert told.count("\n") == 1
    assert "Traceback" not in told


def test_a_recipe_that_is_not_there(edgeward):
    assert "cannot read the recipe none.toml" in edgeward("build", "none.toml", code=1)
