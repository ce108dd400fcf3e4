"""Part: some variants of a release, all or one, and so which of its files, pieces and chunks."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Collection

    from registry.manifest.contents import Manifest


@dataclass(frozen=True)
class Part:
    """The variants of a release that are wanted, or that a directory holds.

    Attributes:
        variants: their names, in the manifest's order.
        files: their numbers in `Manifest.files`.
    """

    manifest: Manifest
    variants: tuple[str, ...]
    files: frozenset[int]

    @property
    def is_whole(self) -> bool:
        """Whether these are all of the release's variants."""
        return len(self.variants) == len(self.manifest.variants)

    @cached_property
    def pieces(self) -> frozenset[int]:
        """The numbers of the pieces of these files."""
        return frozenset(
            number for number, piece in enumerate(self.manifest.pieces) if piece.file in self.files
        )

    @cached_property
    def chunks(self) -> frozenset[int]:
        """The numbers of the chunks in these files."""
        return frozenset(self.manifest.pieces[number].chunk for number in self.pieces)

    @cached_property
    def total_bytes(self) -> int:
        """The size of these files together."""
        return sum(self.manifest.files[number].size_bytes for number in self.files)

    def __contains__(self, variant: str) -> bool:
        """Whether a variant is among these."""
        return variant in self.variants

    def __or__(self, other: Part) -> Part:
        """These and those of another part of the same release."""
        return part_of(self.manifest, {*self.variants, *other.variants})

    def __sub__(self, other: Part) -> Part:
        """These without those of another part of the same release."""
        return part_of(self.manifest, set(self.variants) - set(other.variants))


def part_of(manifest: Manifest, names: Collection[str] | None = None) -> Part:
    """The variants of these names; None means all.

    Raises:
        InputInvalidError: the release has no such variant.
    """
    there = [variant.name for variant in manifest.variants]
    for name in sorted(names or ()):
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(there)}"
            raise InputInvalidError(
                f"{manifest.name}@{manifest.version} has no variant {name[:80]!r}; {hint}", param="variant"
            )
    files: list[int] = []
    kept: list[str] = []
    start = 0
    for variant in manifest.variants:
        if names is None or variant.name in names:
            kept.append(variant.name)
            files += range(start, start + len(variant.files))
        start += len(variant.files)
    return Part(manifest, tuple(kept), frozenset(files))
