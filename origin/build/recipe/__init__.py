"""Recipe: what a model is made from, by which steps, in which variants, and how good these must be; read from TOML."""

from __future__ import annotations

from origin.build.recipe.contents import (
    SOURCE,
    DataTable,
    EvaluateTable,
    ModelTable,
    PublishTable,
    Recipe,
    VariantTable,
)
from origin.build.recipe.reading import parse_recipe, read_recipe

__all__ = [
    "SOURCE",
    "DataTable",
    "EvaluateTable",
    "ModelTable",
    "PublishTable",
    "Recipe",
    "VariantTable",
    "parse_recipe",
    "read_recipe",
]
