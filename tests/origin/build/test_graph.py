"""The graph of steps: what is needed, in which order, and everything that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.build.graph import inputs_of, line_of, order_steps
from origin.build.recipe import parse_recipe
from origin.errors import RecipeInvalidError
from tests.origin.build.toy_builds import HEAD
from tests.origin.build.toy_steps import TOYS


def recipe_of(text):
    return parse_recipe((HEAD + text).encode(), Path("r.toml"), operations=TOYS)


def step(name, source="source", **more):
    words = "".join(f'{key} = "{value}"\n' for key, value in more.items())
    op = "measure" if name.startswith("seen") else "copy"
    return f'[[step]]\nid = "{name}"\nop = "{op}"\nfrom = "{source}"\n{words}'


def variant(name, source, **more):
    words = "".join(f'{key} = "{value}"\n' for key, value in more.items())
    return f'[[variant]]\nname = "{name}"\nfrom = "{source}"\n{words}'


def order(text, kind="gguf", variants=("v",)):
    return [it.id for it in order_steps(recipe_of(text), kind, variants)]


def test_each_step_comes_after_those_it_needs_and_others_are_left_out():
    text = step("c", "b", importance="seen") + step("unused") + step("b", "a") + step("a")
    text += step("seen", data="calib") + variant("v", "c") + variant("w", "unused")
    assert order(text) == ["a", "b", "seen", "c"]
    assert order(text, variants=("w",)) == ["unused"]
    steps = {it.id: it for it in recipe_of(text).steps}
    assert [it.id for it in line_of("c", steps)] == ["a", "b", "c"]
    assert line_of("source", steps) == []


def test_what_variants_are_compared_with_is_needed():
    text = step("a") + step("full") + variant("v", "a") + '[evaluate]\ntexts = "calib"\nreference = "full"\n'
    assert order(text) == ["a", "full"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (step("a", "bb") + step("b") + variant("v", "a"), ["[[step]] a (line 10)", "from is 'bb'", "did you mean 'b'"]),
        (step("a", "b") + step("b", "a") + variant("v", "a"), ["in a circle", "a <- b <- a", "'source'"]),
        (step("a", "a") + variant("v", "a"), ["in a circle", "a <- a"]),
        (step("a", importance="b") + step("b") + variant("v", "a"), ["importance is 'b', which is gguf"]),
        (step("seen", data="calb") + variant("v", "seen"), ["data is 'calb'", "did you mean 'calib'"]),
        (step("seen", data="calib") + variant("v", "seen"), ["[[variant]] v", "is importance", "serve gguf and onnx"]),
        (step("a") + variant("v", "x"), ["[[variant]] v", "no step of that name", "there are: a, source"]),
        (step("a") + variant("v", "source", space="a"), ["space is 'a'", "does not come from a step"]),
        (step("a") + variant("v", "a") + '[evaluate]\ntexts = "eval"', ["texts is 'eval'", "there are: calib"]),
        (step("a") + variant("v", "a") + '[evaluate]\ntexts = "calib"\nreference = "b"', ["reference is 'b'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(text, words):
    with pytest.raises(RecipeInvalidError) as caught:
        order(text)
    for word in words:
        assert word in caught.value.message


def test_a_source_of_another_kind_is_refused_where_it_is_used():
    with pytest.raises(RecipeInvalidError, match="from is 'source', which is onnx, and copy works on gguf"):
        order(step("a") + variant("v", "a"), kind="onnx")
    with pytest.raises(RecipeInvalidError, match="is bert, and nodes serve gguf and onnx"):
        order(variant("v", "source"), kind="bert")
    assert order(variant("v", "source"), kind="onnx") == []


NAMES = "abcdef"


@given(st.lists(st.sampled_from([*NAMES, "source"]), min_size=6, max_size=6), st.permutations(NAMES))
def test_any_graph_is_ordered_or_is_a_circle(sources, names):
    """Each step works on an arbitrary other one."""
    text = "".join(step(name, source) for name, source in zip(names, sources, strict=True))
    text += "".join(variant(f"v{name}", name) for name in names)
    recipe = recipe_of(text)
    below = dict(zip(names, sources, strict=True))

    def circular(name):
        seen = set()
        while name != "source" and name not in seen:
            seen.add(name)
            name = below[name]
        return name != "source"

    if any(map(circular, names)):
        with pytest.raises(RecipeInvalidError, match="in a circle"):
            order_steps(recipe, "gguf", [f"v{name}" for name in names])
        return
    ordered = order_steps(recipe, "gguf", [f"v{name}" for name in names])
    done = {"source"}
    for it in ordered:
        assert set(inputs_of(it).values()) <= done
        done.add(it.id)
    assert len(ordered) == len(names)
