"""What a build leaves for people: the report, and the variants' files in a folder that they choose."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from origin.build.recipe import SOURCE
from origin.build.report.writing import Report, ReportRow, write_report
from registry.durable import make_folders

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from origin.build.building import BuiltVariant
    from origin.build.planning import Plan


def write_build_report(
    plan: Plan, built: Sequence[BuiltVariant], directory: Path, *, created_unix_s: int
) -> Path | None:
    """Write the report; the page's path, None where nothing was judged."""
    recipe = plan.recipe
    rows = tuple(
        ReportRow(
            variant=it.plan.table.name,
            steps=tuple(f"{step.id}: {step.__struct_config__.tag}" for step in it.plan.line),
            evaluation=it.evaluation,
            verdict=it.verdict,
        )
        for it in built
        if it.evaluation is not None and it.verdict is not None
    )
    if not rows or recipe.evaluate is None:
        return None
    compared = "the source" if recipe.evaluate.reference == SOURCE else f"step {recipe.evaluate.reference}"
    texts = plan.texts[recipe.evaluate.texts]
    report = Report(
        model=recipe.model.name,
        version=recipe.model.version,
        recipe_sha256=recipe.sha256,
        created_unix_s=created_unix_s,
        rows=rows,
        notes=(
            f"Compared with {compared}, on {len(texts.texts)} documents of [data.{recipe.evaluate.texts}].",
        ),
    )
    make_folders(directory)
    return write_report(report, directory)[1]


def copy_variants(built: Sequence[BuiltVariant], directory: Path) -> None:
    """Put each variant's files into a folder of its name; what is there already is replaced."""
    for it in built:
        folder = directory / it.plan.table.name
        shutil.rmtree(folder, ignore_errors=True)
        for path in sorted(it.artifact.directory.rglob("*")):
            target = folder / path.relative_to(it.artifact.directory)
            if path.is_file():
                make_folders(target.parent)
                _place(path.resolve(), target)


def _place(path: Path, target: Path) -> None:
    """A copy that shares no bytes with the workspace: whoever edits it must not edit what was made."""
    with path.open("rb") as reader, target.open("wb") as writer:
        try:
            os.copy_file_range(reader.fileno(), writer.fileno(), path.stat().st_size)
        except OSError:  # another file system
            reader.seek(0)
            writer.seek(0)
        writer.seek(0, os.SEEK_END)
        reader.seek(writer.tell())
        shutil.copyfileobj(reader, writer)
