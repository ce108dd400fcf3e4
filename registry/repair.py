"""Repair: a release on disk whose bytes have rotted gets its right bytes back, file by file, while it is used.

A fresh copy is fetched beside it, from what is still good in it and, for the rest, from elsewhere; then each damaged
file is replaced by one rename. Whoever has the old file open keeps it, as it was.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from registry.durable import sync
from registry.fetch import MANIFEST_NAME, fetch
from registry.fetch.partial import remove_partials_of
from registry.progress import ProgressHook, ignore_progress
from registry.release_directory import FILES_NAME
from registry.verify import VerifyReport, verify

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from registry.fetch import FetchReport, Source
    from registry.fetch.neighbours import Neighbours

log = structlog.get_logger()

MENDING = ".mending-"
"""What the name of the directory starts with that a repair fetches to, beside the release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What was mended: the files that were replaced, by path, and what that cost."""

    found: VerifyReport
    replaced: tuple[str, ...] = ()
    fetched_bytes: int = 0
    peer_bytes: int = 0


async def repair(
    directory: Path,
    source: Source,
    *,
    local: Sequence[Path] = (),
    neighbours: Neighbours | None = None,
    found: VerifyReport | None = None,
    progress: ProgressHook = ignore_progress,
) -> RepairReport:
    """Replace the damaged and missing files of a release. Needs room for a second copy for a while; resumable.

    Args:
        directory: of the release; its manifest must be right.
        source: gives ranges of packs.
        local: directories of other releases, whose chunks are used where they fit.
        neighbours: nodes to ask before the source.
        found: what `verify` said just now; None looks now.
        progress: hears how far it is.

    Raises:
        InputInvalidError: the directory holds no release.
        ManifestInvalidError: its manifest is damaged.
        EdgewardError: what the source raises; nothing is replaced then.
    """
    if found is None:
        found = await asyncio.to_thread(verify, directory, progress)
    bad = (*(file.path for file in found.damaged), *found.missing)
    if not bad:
        await asyncio.to_thread(remove_leftover, directory)
        return RepairReport(found=found)
    fresh = _fresh(directory)
    if fresh.exists():  # of a repair that was cut off after its fetch
        await asyncio.to_thread(shutil.rmtree, fresh)
    manifest_bytes = await asyncio.to_thread((directory / MANIFEST_NAME).read_bytes)
    report = await fetch(
        manifest_bytes,
        source,
        fresh,
        variants=found.variants,
        local=(directory, *local),
        neighbours=neighbours,
        progress=progress,
    )
    await asyncio.to_thread(_swap, fresh, directory, bad)
    log.warning(
        "release.mended",
        release=f"{found.name}@{found.version}",
        files=bad,
        fetched_bytes=report.fetched_bytes,
        peer_bytes=report.peer_bytes,
    )
    return _reported(found, bad, report)


def remove_leftover(directory: Path) -> None:
    """Remove what a repair left that was killed after it had mended this release."""
    remove_partials_of(_fresh(directory))
    if _fresh(directory).exists():
        shutil.rmtree(_fresh(directory))


def _fresh(directory: Path) -> Path:
    """Where a repair fetches to."""
    return directory.parent / f"{MENDING}{directory.name}"


def _reported(found: VerifyReport, bad: tuple[str, ...], report: FetchReport) -> RepairReport:
    return RepairReport(
        found=found, replaced=bad, fetched_bytes=report.fetched_bytes, peer_bytes=report.peer_bytes
    )


def _swap(fresh: Path, directory: Path, paths: Sequence[str]) -> None:
    for path in paths:
        place = directory / FILES_NAME / path
        place.parent.mkdir(parents=True, exist_ok=True)
        (fresh / FILES_NAME / path).replace(place)
        sync(place.parent)
    shutil.rmtree(fresh)
