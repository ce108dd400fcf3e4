"""Which file of an earlier release a new file is compared with: files get new names with new versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.manifest import Manifest, Variant


def counterparts(new: Manifest, base: Manifest) -> dict[str, str]:
    """For each new file that has one its like in the base, both by path: in the variant of the same name.

    A release with one variant is compared with the only variant of the other, whatever its name.
    """
    found: dict[str, str] = {}
    for variant in new.variants:
        other = next((it for it in base.variants if it.name == variant.name), None)
        if other is None and len(new.variants) == len(base.variants) == 1:
            other = base.variants[0]
        if other is not None:
            found.update(_of_one(variant, other))
    here = {file.path for file in base.files}
    return {file.path: file.path for file in new.files if file.path in here} | found


def _of_one(new: Variant, base: Variant) -> Iterator[tuple[str, str]]:
    if len(new.files) == len(base.files) == 1:
        yield new.files[0].path, base.files[0].path
        return
    known = {_inside(base, file.path): file.path for file in base.files}
    for file in new.files:
        inside = _inside(new, file.path)
        if inside in known:
            yield file.path, known[inside]


def _inside(variant: Variant, path: str) -> str:
    """The path without the folder that variants have beside others."""
    return path.removeprefix(f"{variant.name}/")
