"""What the README says of builds is true: its recipe is one, its table has every operation, its examples are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from origin.build.operations import OPERATIONS
from origin.build.recipe import parse_recipe, read_recipe
from origin.build.texts import read_texts

BUILD = Path(__file__).parents[3] / "origin/build"
README = (BUILD / "README.md").read_text("utf-8")
EXAMPLES = sorted((BUILD / "examples").glob("*.toml"))


def test_the_recipe_in_the_readme_is_one():
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    text = text.replace('sha256 = "…"', f'sha256 = "{"0" * 64}"')
    assert parse_recipe(text.encode(), Path("r.toml")).variants[0].name == "small"


def test_every_operation_is_in_the_table():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", README, re.MULTILINE)
    assert dict(rows) == {op: kind.MAKES for op, kind in OPERATIONS.items()}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_recipe_with_its_texts(path):
    recipe = read_recipe(path)
    assert f"`{path.name}`" in README
    assert recipe.evaluate is not None
    sets = {}
    for name, table in recipe.data.items():
        files = [path.parent / file for file in table.files]
        sets[name] = read_texts(name, files, seed=table.seed, limit_count=table.limit_count)
    judged = sets.pop(recipe.evaluate.texts)
    assert len(judged.texts) >= 100
    assert all(judged.overlap_count(others) == 0 for others in sets.values())


def test_texts_of_the_examples_are_small():
    assert sum(path.stat().st_size for path in (BUILD / "examples").rglob("*") if path.is_file()) < 220_000
