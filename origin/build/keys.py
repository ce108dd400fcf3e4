"""Keys: what makes two pieces of work the same, so that the second is not done; and the versions of operations."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.step import Step


def parameters_of(step: Step) -> dict[str, Any]:
    """What a step is told besides its name, its inputs and its texts."""
    known = {"op", "id", "from", *step.INPUTS, *step.TEXTS}
    plain: dict[str, Any] = msgspec.to_builtins(step)
    return {name: value for name, value in plain.items() if name not in known}


def step_key(step: Step, version: int, inputs: Mapping[str, str], texts: Mapping[str, str], seed: int) -> str:
    """The key of what a step makes: SHA-256 over all that its bytes depend on.

    Args:
        step: its id is left out: the same work under another name is the same.
        version: of the operation.
        inputs: the keys of its inputs, by attribute.
        texts: the digests of its texts, by attribute.
        seed: the recipe's.
    """
    return key_of({
        "op": step.__struct_config__.tag,
        "version": version,
        "parameters": parameters_of(step),
        "inputs": dict(inputs),
        "texts": dict(texts),
        "seed": seed,
    })  # fmt: skip


def key_of(plain: Any) -> str:
    """SHA-256 in hex of plain data, whatever the order of its keys."""
    packed = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(packed.encode()).hexdigest()


def module_version(module: str) -> int:
    """The VERSION in an operation's module, read without importing it: that may take torch, and seconds.

    Raises:
        StepFailedError: it has none.
    """
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.origin is not None:
        for statement in ast.parse(Path(spec.origin).read_bytes()).body:
            if isinstance(statement, ast.Assign):
                targets, value = statement.targets, statement.value
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                targets, value = [statement.target], statement.value
            else:
                continue
            named = any(isinstance(target, ast.Name) and target.id == "VERSION" for target in targets)
            if named and isinstance(value, ast.Constant) and type(value.value) is int:
                return value.value
    raise StepFailedError(f"the operation in {module} says no VERSION; its module must, as a whole number")
