"""Recipes of toys, put together of the tables that they have in common."""

from __future__ import annotations

import json


def head(name: str, source: str = "toy.gguf") -> str:
    """The beginning of a recipe: its seed, and the release that comes of it."""
    model = table("[model]", name=name, version="1.0.0", license="Apache-2.0", source=source)
    return f"seed = 7\n{model}"


def texts(name: str, file: str, **keys) -> str:
    """A set of texts out of one file."""
    return table(f"[data.{name}]", files=[file], **keys)


def step(step_id: str, op: str, source: str = "source", **keys) -> str:
    """A step; from the recipe's source, unless another step's id is given."""
    origin = {} if source == "source" else {"from": source}
    return table("[[step]]", id=step_id, op=op, **origin, **keys)


def weighed_four(step_id: str, *, data: str, tokens: int) -> str:
    """Two steps: what an importance over these texts weighs, in four bits."""
    seen = step("seen", "importance", data=data, tokens=tokens)
    return seen + step(step_id, "quantize", type="Q4_0", importance="seen")


def variant(name: str, source: str, **keys) -> str:
    """A variant of the release, made by the step of this id."""
    return table("[[variant]]", name=name, **{"from": source}, **keys)


def table(heading: str, **keys) -> str:
    """One table of TOML, which writes strings, numbers, truth values and lists of them as JSON does."""
    return f"{heading}\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
