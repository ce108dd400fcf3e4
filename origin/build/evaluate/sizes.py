"""Sizes: what a candidate's files take on a disk, and on the wire in our own packs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.evaluate.intervals import exact
from registry.publish.intake import FileIntake
from registry.publish.source_files import find_files

if TYPE_CHECKING:
    from origin.build.evaluate.figures import Figure
    from origin.build.step import Artifact
    from registry.digest import Digest


def size_figures(candidate: Artifact, reference: Artifact) -> dict[str, Figure]:
    """Bytes of all files, and what a node fetches that has nothing: each chunk once, as publishing stores it.

    Raises:
        InputInvalidError: the candidate has no files, or some that cannot be published.
        FormatInvalidError: its model file is damaged.
    """
    files = find_files(candidate.directory)
    stored: dict[Digest, int] = {}
    for file in files:
        for piece in FileIntake(file, stored).pieces():
            if piece.stored is not None:
                stored[piece.digest] = len(piece.stored)
    bytes_count = sum(file.stamp.size_bytes for file in files)
    reference_bytes = sum(file.stat().st_size for file in reference.directory.rglob("*") if file.is_file())
    weights = [file for file in files if file.format.parameter_count]
    figures = {
        "bytes": exact(bytes_count),
        "wire_bytes": exact(sum(stored.values())),
        "bytes_ratio": exact(bytes_count / max(1, reference_bytes)),
    }
    if weights:
        weights_bytes = sum(file.stamp.size_bytes for file in weights)
        figures["bits_per_weight"] = exact(
            8 * weights_bytes / sum(file.format.parameter_count for file in weights)
        )
    return figures
