"""Scrubber: reads what lies on the disk again and again, slowly, and mends what has rotted before anyone loads it.

It takes `scrub_bytes_per_s` at most, and rests for `scrub_pause_s` after each round. What loads or serves a damaged
file goes on with it as it was opened; the runner is told, so that it loads the mended one.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import structlog

from registry.errors import EdgewardError
from registry.fetch import MANIFEST_NAME
from registry.manifest import decode_manifest
from registry.release_directory import ReleaseDirectory
from registry.repair import repair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from pathlib import Path
    from typing import BinaryIO

    from edge_node.model_store import InstalledRelease
    from edge_node.peers import Exchange
    from edge_node.supervisor import Clock
    from edge_node.telemetry import Metrics
    from registry.fetch import Source
    from registry.manifest import ReleaseFile

log = structlog.get_logger()

_STEP_BYTES = 1024 * 1024


class Scrubber:
    """Looks at installed releases for ever.

    Args:
        installed: what is on the disk now.
        source: where right bytes come from, after the node's other releases and its peers.
        exchange: who the peers are.
        mended: told of a release, and which of its files were replaced.
        metrics: counts what is found and mended.
        clock: paces the reads.
        bytes_per_s: reads at most so many; 0 reads nothing.
        pause_s: rests so long after each round.
    """

    def __init__(
        self,
        *,
        installed: Callable[[], Iterable[InstalledRelease]],
        source: Source,
        exchange: Exchange,
        mended: Callable[[InstalledRelease, Collection[str]], Awaitable[None]],
        metrics: Metrics,
        clock: Clock,
        bytes_per_s: int,
        pause_s: float,
    ) -> None:
        self._installed = installed
        self._source = source
        self._exchange = exchange
        self._mended = mended
        self._metrics = metrics
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._pause_s = pause_s

    async def run(self) -> None:
        """Scrub until cancelled."""
        while True:
            await self._clock.sleep(self._pause_s)
            if self._bytes_per_s:
                await self.round()

    async def round(self) -> None:
        """Look once at everything."""
        for release in tuple(self._installed()):
            try:
                if not await self._is_whole(release):
                    await self._mend(release)
            except FileNotFoundError:  # the release was removed meanwhile
                continue
            except (EdgewardError, OSError) as error:
                log.warning("release.left_damaged", release=_name(release), reason=str(error))

    async def _is_whole(self, release: InstalledRelease) -> bool:
        data = await asyncio.to_thread((release.directory / MANIFEST_NAME).read_bytes)
        held = ReleaseDirectory.open(release.directory, decode_manifest(data))
        for number in sorted(held.part.files):
            file = held.manifest.files[number]
            place = held.file(number)
            if not await asyncio.to_thread(place.exists):
                await asyncio.to_thread(release.directory.stat)  # raises when the whole release is gone
                return False
            if not await self._is_right(place, file):
                return False
        return True

    async def _is_right(self, place: Path, file: ReleaseFile) -> bool:
        whole = hashlib.sha256()
        length_bytes = 0
        opened = await asyncio.to_thread(place.open, "rb")
        with opened:
            while step_bytes := await asyncio.to_thread(_hash_next, opened, whole):
                length_bytes += step_bytes
                await self._clock.sleep(step_bytes / self._bytes_per_s)
        return (length_bytes, whole.hexdigest()) == (file.size_bytes, file.sha256)

    async def _mend(self, release: InstalledRelease) -> None:
        log.error("release.rotted", release=_name(release))
        self._metrics.verify_failed()
        others = [it.directory for it in self._installed() if it.directory != release.directory]
        report = await repair(
            release.directory,
            self._source,
            local=others,
            neighbours=self._exchange.neighbours(release.manifest_sha256),
        )
        if report.replaced:
            self._metrics.repaired()
            await self._mended(release, report.replaced)


def _hash_next(opened: BinaryIO, whole: hashlib._Hash) -> int:
    data = opened.read(_STEP_BYTES)
    whole.update(data)
    return len(data)


def _name(release: InstalledRelease) -> str:
    return f"{release.name}@{release.version}"
