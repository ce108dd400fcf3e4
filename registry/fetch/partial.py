"""PartialRelease: the directory beside the target where a fetch works; one process at a time, resumable after any end.

`<parent>/.partial-<target's name>~<manifest>/` holds `lock`, `journal` and `release/`, which becomes the target in one
rename. Whoever holds the lock owns the directory; the lock goes with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from glob import escape
from typing import TYPE_CHECKING

import structlog

from registry.durable import make_folders, sync
from registry.fetch.journal import Journal
from registry.release_directory import ReleaseDirectory, full_disk_named

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from registry.digest import Digest
    from registry.manifest import Part

_PREFIX = ".partial-"
_END = "~"  # in no version's name
_DIGEST_DIGITS = 16

log = structlog.get_logger()


class PartialRelease:
    """A partial release that this process has locked; close it in any case."""

    def __init__(self, place: Path, lock: int, part: Part, held: Part, digest: Digest) -> None:
        self.release = ReleaseDirectory(place / "release", part.manifest, part)
        self.held = held
        self._place = place
        self._lock = lock
        self._digest = digest
        self._journal: Journal | None = None

    def prepare(self) -> set[int]:
        """Make the files and open the journal; the pieces that it names, yet to be checked.

        Raises:
            DiskFullError: there is no room for the release.
        """
        self.release.directory.mkdir(exist_ok=True)
        self.release.remove_others()  # of a fetch of other variants, which was broken off
        self.release.allocate()
        with full_disk_named(self._place):
            self._journal = Journal(self._place / "journal", self._digest)
            return self._journal.read()

    def note(self, pieces: Collection[int]) -> None:
        """Write into the journal that these pieces are in their files."""
        if self._journal is not None:
            with full_disk_named(self._place):
                self._journal.append(pieces)

    def finish(self, manifest_bytes: bytes, target: Path) -> None:
        """Make what was fetched durable and let it appear at the target, whole."""
        self.release.seal(manifest_bytes)
        if self.held.variants:
            self.release.join(target, self.held)
        else:
            self.release.directory.rename(target)
            sync(target.parent)
        shutil.rmtree(self._place, ignore_errors=True)  # what stays is removed as stale

    def close(self) -> None:
        """Let go of the directory; what is in it stays."""
        if self._journal is not None:
            self._journal.close()
        os.close(self._lock)


def try_lock(target: Path, part: Part, held: Part, digest: Digest) -> PartialRelease | None:
    """The partial release of a target, made if need be; None while another process has it.

    Args:
        target: where the release will be.
        part: what is fetched.
        held: what is at the target already.
        digest: of the manifest.
    """
    place = target.parent / f"{_PREFIX}{target.name}{_END}{digest[:_DIGEST_DIGITS]}"
    make_folders(target.parent)
    place.mkdir(exist_ok=True)
    lock = _lock(place)
    return None if lock is None else PartialRelease(place, lock, part, held, digest)


def remove_stale_partials(parent: Path, keep: Collection[Path] = ()) -> tuple[Path, ...]:
    """Remove the partial releases below a directory that no process works on; those that were removed.

    Args:
        parent: the directory that holds the targets.
        keep: targets whose partial releases stay.
    """
    kept = tuple(f"{_PREFIX}{target.name}{_END}" for target in keep)
    found = [place for place in sorted(parent.glob(f"{_PREFIX}*{_END}*")) if not place.name.startswith(kept)]
    return tuple(place for place in found if _remove(place))


def remove_partials_of(target: Path) -> None:
    """Remove what a fetch left that was killed after its target had appeared."""
    for place in target.parent.glob(f"{_PREFIX}{escape(target.name)}{_END}*"):
        _remove(place)


def _remove(place: Path) -> bool:
    """Whether a partial release was removed; one that a process works on is not."""
    lock = _lock(place)
    if lock is None:
        return False
    try:
        shutil.rmtree(place)
        log.info("partial.removed", partial=place.name)
    finally:
        os.close(lock)
    return True


def _lock(place: Path) -> int | None:
    """The locked descriptor; None while it is another's, or when the directory has just gone."""
    path = place / "lock"
    with suppress(FileNotFoundError):
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who had it may have removed the directory while we opened the file.
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except BlockingIOError:
            pass
        except FileNotFoundError:
            pass
        os.close(lock)
    return None
