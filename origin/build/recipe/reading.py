"""From the bytes of a recipe to the recipe."""

from __future__ import annotations

import hashlib
import re
import tomllib
from typing import TYPE_CHECKING, Any, get_args

from origin.build.evaluate.tasks import AnyTaskSpec
from origin.build.gates import Limit
from origin.build.operations import OPERATIONS
from origin.build.recipe.contents import (
    SOURCE,
    DataTable,
    EvaluateTable,
    ModelTable,
    PublishTable,
    Recipe,
    VariantTable,
)
from origin.build.recipe.lines import find_lines
from origin.build.recipe.tables import TableReader, nearest
from origin.errors import RecipeInvalidError
from registry.errors import InputInvalidError
from registry.reference import check_channel, check_name, check_variant, check_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from origin.build.recipe.lines import Place
    from origin.build.step import Step

SCHEMA = 1
_LIMIT_BYTES = 1 << 20
_TOP = ("schema", "seed", "model", "data", "step", "variant", "evaluate", "task", "gate", "publish")
_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TASKS = {kind.__struct_config__.tag: kind for kind in get_args(AnyTaskSpec)}


def read_recipe(path: Path, *, operations: Mapping[str, type[Step]] = OPERATIONS) -> Recipe:
    """The recipe in a file.

    Raises:
        RecipeInvalidError: it says something unknown, or leaves out what it must say.
    """
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise RecipeInvalidError(f"{path} is larger than 1 MiB; a recipe is not")
        data = path.read_bytes()
    except OSError as error:
        raise RecipeInvalidError(f"cannot read the recipe {path}: {error.strerror}") from error
    return parse_recipe(data, path, operations=operations)


def parse_recipe(data: bytes, path: Path, *, operations: Mapping[str, type[Step]] = OPERATIONS) -> Recipe:
    """The recipe in these bytes; `path` is where they are from.

    Raises:
        RecipeInvalidError: see `read_recipe`.
    """
    try:
        text = data.decode("utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise RecipeInvalidError(f"{path.name} is not UTF-8 (byte {error.start})") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeInvalidError(f"{path.name} is not TOML: {error}") from error
    tables = TableReader(document, find_lines(text), path.name)
    tables.known(document, _TOP, ("", 0, ""))
    if (schema := document.get("schema", SCHEMA)) != SCHEMA:
        raise tables.refusal(("", 0, "schema"), f"schema is {schema!r}, and this Edgeward reads {SCHEMA}")
    model = _model(tables)
    steps = _steps(tables, operations)
    variants = _variants(tables)
    gate, variant_gates = _gates(tables, variants)
    return Recipe(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        seed=_seed(tables),
        model=model,
        data=_data(tables),
        steps=steps,
        variants=variants,
        evaluate=tables.struct(tables.table("evaluate"), EvaluateTable, ("evaluate", 0, ""))
        if "evaluate" in document
        else None,
        tasks=tuple(
            tables.tagged(table, _TASKS, ("task", number, ""))
            for number, table in enumerate(tables.tables("task"))
        ),
        gate=gate,
        variant_gates=variant_gates,
        publish=_publish(tables),
        lines={("step", step.id): tables.line(("step", number, "id")) for number, step in enumerate(steps)}
        | {
            ("variant", it.name): tables.line(("variant", number, "name"))
            for number, it in enumerate(variants)
        },
    )


def _seed(tables: TableReader) -> int:
    seed = tables.document.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 1 << 32:
        raise tables.refusal(("", 0, "seed"), f"seed is {seed!r}: give a whole number from 0 to 2^32 - 1")
    return seed


def _model(tables: TableReader) -> ModelTable:
    table = tables.table("model")
    if not table:
        raise tables.refusal(
            ("", 0, "model"), "there is no [model]: say its name, version, license and source"
        )
    model = tables.struct(table, ModelTable, ("model", 0, ""))
    tables.word(("model", 0, "name"), check_name, model.name)
    tables.word(("model", 0, "version"), check_version, model.version)
    if not model.license.strip():
        raise tables.refusal(
            ("model", 0, "license"), "license is empty: say which license the source has, such as Apache-2.0"
        )
    tables.word(("model", 0, "sha256"), _digest, model.sha256)
    return model


def _data(tables: TableReader) -> dict[str, DataTable]:
    sets = {}
    for name, table in tables.table("data").items():
        sets[name] = tables.struct(table, DataTable, (f"data.{name}", 0, ""))
        if not sets[name].files:
            raise tables.refusal((f"data.{name}", 0, "files"), "files is empty: name .txt or .jsonl files")
        if sets[name].limit_count < 0:
            raise tables.refusal((f"data.{name}", 0, "limit_count"), "limit_count is below 0; 0 takes all")
        tables.word((f"data.{name}", 0, "sha256"), _digest, sets[name].sha256)
    return sets


def _steps(tables: TableReader, operations: Mapping[str, type[Step]]) -> tuple[Step, ...]:
    steps = tuple(
        tables.tagged(table, operations, ("step", number, ""))
        for number, table in enumerate(tables.tables("step"))
    )
    _check_names(tables, "step", "id", [step.id for step in steps], _identifier)
    return steps


def _variants(tables: TableReader) -> tuple[VariantTable, ...]:
    variants = tuple(
        tables.struct(table, VariantTable, ("variant", number, ""))
        for number, table in enumerate(tables.tables("variant"))
    )
    _check_names(tables, "variant", "name", [it.name for it in variants], check_variant)
    if not variants:
        raise tables.refusal(
            ("", 0, "variant"),
            'there is no [[variant]]: say which step makes what is wanted, such as name = "q4" and from = "quantized"',
        )
    return variants


def _publish(tables: TableReader) -> PublishTable:
    publish = tables.struct(tables.table("publish"), PublishTable, ("publish", 0, ""))
    tables.word(("publish", 0, "channel"), check_channel, publish.channel)
    return publish


def _gates(
    tables: TableReader, variants: tuple[VariantTable, ...]
) -> tuple[dict[str, Limit] | None, dict[str, dict[str, Limit]]]:
    """`[gate]`, None where nothing is in it, and each `[gate.variant.NAME]`."""
    table = tables.table("gate")
    own = table.get("variant", {})
    if not isinstance(own, dict):
        raise tables.refusal(("gate", 0, "variant"), "write limits of one variant under [gate.variant.NAME]")
    limits = _limits(tables, {name: limit for name, limit in table.items() if name != "variant"}, "gate")
    names = [variant.name for variant in variants]
    by_variant = {}
    for name, entries in own.items():
        if name not in names:
            place: Place = (f"gate.variant.{name}", 0, "")
            raise tables.refusal(place, f"there is no variant {name!r}; {nearest(name, names)}")
        if not isinstance(entries, dict):
            raise tables.refusal(("gate.variant", 0, name), f"write a header [gate.variant.{name}]")
        by_variant[name] = _limits(tables, entries, f"gate.variant.{name}")
    return limits or None, by_variant


def _limits(tables: TableReader, entries: Mapping[str, Any], table: str) -> dict[str, Limit]:
    return {figure: tables.struct(limit, Limit, (table, 0, figure)) for figure, limit in entries.items()}


def _check_names(
    tables: TableReader, table: str, key: str, names: list[str], check: Callable[[str], str]
) -> None:
    for number, name in enumerate(names):
        place: Place = (table, number, key)
        tables.word(place, check, name)
        if name.casefold() in (earlier.casefold() for earlier in names[:number]):
            raise tables.refusal(place, f"{key} {name!r} is taken by an earlier [[{table}]]")


def _identifier(name: str) -> str:
    if not _ID.fullmatch(name) or name == SOURCE:
        raise InputInvalidError(
            f"{name[:80]!r} cannot be an id: use lower-case letters, digits, '.', '_' and '-', and not {SOURCE!r}, "
            "which is the model itself"
        )
    return name


def _digest(word: str) -> str:
    if word and not _SHA256.fullmatch(word):
        raise InputInvalidError(f"sha256 is {word[:80]!r}: it has 64 digits from 0 to f")
    return word
