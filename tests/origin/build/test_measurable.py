"""What a recipe's gates limit is measured, or refused before any work; the examples' are."""

from __future__ import annotations

from pathlib import Path

import pytest

from origin.build.evaluate.figures import FIGURES, OF_CHAT, OF_ENCODERS
from origin.build.measurable import check_measurable
from origin.build.recipe import parse_recipe, read_recipe
from origin.errors import RecipeInvalidError

EXAMPLES = Path(__file__).parents[3] / "origin/build/examples"
RETRIEVAL = '[[task]]\nkind = "retrieval"\nfile = "texts/retrieval.jsonl"\n'
RACED = 'encode_speedup = { min = 2.0, vs = "eight"'


def kind_of(name):
    return "gguf" if name.startswith("chat") else "bert"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_what_the_examples_limit_is_measured(path):
    check_measurable(read_recipe(path), kind_of(path.name))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "encoder.toml", RACED, "encode_speedup = { min = 2.0",
            r'quick \(line \d+\): its gate limits encode_speedup, and the reference is bert, .* say vs = "VARIANT"',
        ),
        ("encoder.toml", RACED, 'decode_speedup = { min = 2.0, vs = "eight"', "not measured of encoders"),
        ("encoder.toml", RETRIEVAL, "", r'quick .*retrieval_share, and .* kind = "retrieval"'),
        ("encoder.toml", "nn10", "top1", "eight .*top1, which is not measured of encoders"),
        ("encoder.toml", 'texts = "judge"', 'texts = "judge"\nspeeds = false', "encode_speedup, .* speeds = false"),
        ("encoder.toml", 'texts = "judge"', 'texts = "judge"\nreference = "shallow"', None),
        ("chat.toml", "top1", "nn10", "best .*nn10, which is not measured of chat models"),
        ("chat.toml", "top1", "probe_share", "not measured of chat models"),
        ("chat.toml", 'reference = "full"', 'reference = "seen"', "judged beside gguf; .* 'seen', which is importance"),
        ("chat.toml", "decode_speedup", "load_speedup", None),
        ("chat.toml", ', vs = "best"', "", None),
    ],
)  # fmt: skip
def test_what_nothing_measures_is_refused_before_any_work(name, old, new, words):
    text = (EXAMPLES / name).read_text("utf-8")
    assert text.count(old) == 1
    text = text.replace(old, new)
    recipe = parse_recipe(text.encode(), EXAMPLES / name)
    if words is None:
        check_measurable(recipe, kind_of(name))
    else:
        with pytest.raises(RecipeInvalidError, match=words):
            check_measurable(recipe, kind_of(name))


def test_a_recipe_that_judges_nothing_may_limit_what_it_likes():
    text = (EXAMPLES / "encoder.toml").read_text("utf-8").replace(RACED, "encode_speedup = { min = 2.0")
    before, _, after = text.partition("[evaluate]")
    recipe = parse_recipe((before + after.partition('texts = "judge"\n')[2]).encode(), EXAMPLES / "r.toml")
    check_measurable(recipe, "bert")


def test_every_figure_is_known_to_be_of_one_kind_or_of_all():
    both = set(FIGURES) - OF_CHAT - OF_ENCODERS
    assert not OF_CHAT & OF_ENCODERS
    assert set(FIGURES) >= (OF_CHAT | OF_ENCODERS)
    assert both == {
        "leaked_share", "bytes", "wire_bytes", "memory_bytes", "bytes_ratio", "bits_per_weight", "load_speedup",
        "decode_tokens_per_s", "first_token_s", "encode_texts_per_s", "load_s",
    }  # fmt: skip
