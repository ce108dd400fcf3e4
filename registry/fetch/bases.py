"""Bases: releases that lie about on a disk, whose chunks a fetch may use; nobody has to say where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import ManifestInvalidError
from registry.manifest import decode_manifest
from registry.release_directory import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_READ_LIMIT_COUNT = 64


def find_bases(places: Sequence[Path], name: str, target: Path) -> tuple[list[Path], list[Path]]:
    """The releases at or right below these directories, but for the target: those of this model, newest first; others.

    At most the 64 that were changed last are looked at.
    """
    found: dict[Path, Path] = {}
    for place in places:
        for directory in (place, *(sorted(place.iterdir()) if place.is_dir() else ())):
            manifest = directory / MANIFEST_NAME
            if (
                not directory.name.startswith(".")
                and manifest.is_file()
                and directory.resolve() != target.resolve()
            ):
                found[directory.resolve()] = manifest
    newest = sorted(found, key=lambda directory: found[directory].stat().st_mtime, reverse=True)
    alike: list[Path] = []
    others: list[Path] = []
    for directory in newest[:_READ_LIMIT_COUNT]:
        try:
            is_alike = decode_manifest(found[directory].read_bytes()).name == name
        except (OSError, ManifestInvalidError):
            continue
        (alike if is_alike else others).append(directory)
    return alike, others
