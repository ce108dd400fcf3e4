"""Recipes: what is in them, and how each thing that is wrong is said."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.build.gates import Limit
from origin.build.recipe import parse_recipe, read_recipe
from origin.build.recipe.lines import find_lines
from origin.errors import RecipeInvalidError
from tests.origin.build.toy_steps import TOYS, Copy

GOOD = """\
schema = 1
seed = 7

[model]
name = "chat"
version = "1.2.0"
license = "Apache-2.0"
source = "model.gguf"

[data.calib]
files = ["a.txt"]
limit_count = 100

[[step]]
id = "seen"
op = "measure"
data = "calib"

[[step]]
id = "small"
op = "copy"
from = "source"
importance = "seen"
text = "x"

[[variant]]
name = "q4"
from = "small"
cpu = ["avx2"]

[evaluate]
texts = "eval"

[gate]
kl_mean = { max = 0.1 }

[gate.variant.q4]
top1 = { min = 0.8 }

[publish]
require = "any"
"""


def read(text):
    return parse_recipe(text.encode(), Path("r.toml"), operations=TOYS)


def test_a_recipe_is_read():
    recipe = read(GOOD)
    assert recipe.model.license == "Apache-2.0"
    assert recipe.steps[1] == Copy(id="small", source="source", importance="seen", text="x")
    assert recipe.steps[0].source == "source"
    assert recipe.variants[0].source == "small"
    assert recipe.gates_of("q4") == {"kl_mean": Limit(max=0.1), "top1": Limit(min=0.8)}
    assert recipe.place_of("step", "small") == "[[step]] small (line 20)"
    assert recipe.data["calib"].limit_count == 100


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('license = "Apache-2.0"\n', "", ["line 4", "[model]", "license is missing"]),
        ('license = "Apache-2.0"', 'license = " "', ["line 7", "license is empty"]),
        ('license = "Apache-2.0"', 'licence = "x"', ["line 7", "unknown key 'licence'", "did you mean 'license'"]),
        ("schema = 1", "schema = 2", ["line 1", "reads 1"]),
        ("seed = 7", "seed = -1", ["line 2", "whole number"]),
        ("seed = 7", "seed = true", ["line 2", "whole number"]),
        ("seed = 7", "sede = 7", ["line 2", "unknown key 'sede'", "'seed'"]),
        ('op = "copy"', 'op = "coppy"', ["line 21", "small", "did you mean 'copy'"]),
        ('op = "copy"', "op = 7", ["line 21", "op is 7", "known: copy, measure"]),
        ('op = "copy"\n', "", ["[[step]] small", "there is no op"]),
        ('text = "x"', "text = 1", ["line 24", "text: Expected `str`"]),
        ('text = "x"', 'txet = "x"', ["line 24", "did you mean 'text'"]),
        ('data = "calib"\n', "", ["line 14", "[[step]] seen", "data is missing"]),
        ('id = "small"', 'id = "source"', ["line 20", "the model itself"]),
        ('id = "small"', 'id = "seen"', ["line 20", "taken"]),
        ('id = "small"', 'id = "../x"', ["line 20", "cannot be an id"]),
        ('name = "q4"', 'name = "../q4"', ["line 27", "variant's name"]),
        ('name = "chat"', 'name = "Chat"', ["line 5", "not a model name"]),
        ('version = "1.2.0"', 'version = "1/2"', ["line 6", "not a version"]),
        ('files = ["a.txt"]', "files = []", ["line 11", "files is empty"]),
        ('files = ["a.txt"]', 'files = ["a.txt", 3]', ["line 11", "files[1]", "Expected `str`"]),
        ('files = ["a.txt"]', 'files = "a.txt"', ["line 11", "Expected `array`"]),
        ("limit_count = 100", "limit = 100", ["line 12", "did you mean 'limit_count'"]),
        ("[gate]", "[gates]", ["unknown key 'gates'", "did you mean 'gate'"]),
        ("[[variant]]", "[variant]", ["write each variant under a header [[variant]]"]),
        ('require = "any"', 'require = "some"', ["line 41", "require", "some"]),
        ('require = "any"', 'channel = "../x"', ["not a channel"]),
        ("[[variant]]", "[[step]]", ["line 26", "[[step]] q4", "no op"]),
        ('source = "model.gguf"', 'sha256 = "abc"', ["line 8", "64 digits"]),
        ("kl_mean = { max = 0.1 }", "kl_mean = { mx = 0.1 }", ["line 35", "[gate]", "did you mean 'max'"]),
        ("kl_mean = { max = 0.1 }", "kl_mean = 0.1", ["line 35", "kl_mean is a table"]),
        ("gate.variant.q4", "gate.variant.q5", ["line 37", "no variant 'q5'", "known: q4"]),
        ('texts = "eval"', 'text = "eval"', ["line 32", "did you mean 'texts'"]),
        ("[evaluate]", "[[task]]", ["[[task]] number 1", "there is no kind", "probe"]),
        ("[evaluate]", "[[evaluate]]", ["write its header as [evaluate]"]),
        ("schema = 1", "schema = ", ["not TOML", "line 1"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(old, new, words):
    assert old in GOOD
    with pytest.raises(RecipeInvalidError) as caught:
        read(GOOD.replace(old, new, 1))
    for word in words:
        assert word in caught.value.message


def test_without_model_or_variant_there_is_nothing_to_make():
    with pytest.raises(RecipeInvalidError, match=r"no \[model\]"):
        read("seed = 1")
    with pytest.raises(RecipeInvalidError, match=r"no \[\[variant\]\]"):
        read(GOOD.partition("[[variant]]")[0])


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a = [" * 5000, b"\x00"])
def test_bytes_that_are_no_recipe(data):
    with pytest.raises(RecipeInvalidError):
        parse_recipe(data, Path("r.toml"), operations=TOYS)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecipeInvalidError, match="cannot read the recipe"):
        read_recipe(tmp_path / "no.toml")
    with pytest.raises(RecipeInvalidError, match="cannot read the recipe"):
        read_recipe(tmp_path)


LINES = st.lists(st.sampled_from(GOOD.splitlines()))


@given(LINES)
def test_shuffled_lines_are_read_or_refused(lines):
    with suppress(RecipeInvalidError):
        assert read("\n".join(lines)).variants


def test_lines_of_tables_and_keys():
    text = 'a = """\n[x]\n"""\n[data."b c"] # z\nq.r = 1\n[[step]]\n[[step]]\n id=3\n'
    found = find_lines(text)
    assert found["data.b c", 0, ""] == 4
    assert found["data.b c", 0, "q"] == 5
    assert found["step", 1, "id"] == 8
    assert ("x", 0, "") not in found
