"""Workspace: what builds have made, by key, so that nothing is made twice and a kill at any moment costs little.

sources/KEY/       the files of a source, linked or copied
artifacts/KEY/     made/ (the artifact) and record.json; appears whole, by one rename, or not at all
incoming/KEY.*/    what is being made; left by a kill, removed by the next who makes it
checkpoints/KEY/   how far it was
evaluations/KEY.json, references/KEY/
locks/KEY          held by whoever makes it, builder and child
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from origin.build.record import StepRecord
from origin.build.step import Artifact
from origin.errors import StepFailedError
from registry.durable import make_folders, sync, write_durably
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from origin.build.source import Source

_RECORD = "record.json"
_MADE = "made"
_SHELVES = ("artifacts", "checkpoints", "incoming", "sources", "evaluations", "references", "logs", "reports")
_PASSING = ("incoming", "logs", "reports")
"""What no later build has a use for."""


class Workspace:
    """A directory of artifacts. Several builds may use one at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def artifact(self, key: str) -> tuple[Artifact, StepRecord] | None:
        """What was made under a key, and how; None if it was not."""
        folder = self.root / "artifacts" / key
        try:
            record = msgspec.json.decode((folder / _RECORD).read_bytes(), type=StepRecord)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, OSError) as error:
            raise StepFailedError(
                f"{folder} is damaged ({error}); remove it and build again", param="workspace"
            ) from error
        return Artifact(key, record.kind, folder / _MADE), record

    def has_begun(self, key: str) -> bool:
        """Whether whoever was making this left a checkpoint."""
        folder = self.root / "checkpoints" / key
        return folder.is_dir() and any(folder.iterdir())

    def keep_source(self, source: Source) -> Artifact:
        """A source as an artifact: its files under the names that artifacts have, linked where that can be."""
        folder = self.root / "sources" / source.key
        make_folders(folder)
        for name, place in source.files.items():
            kept = folder / name
            if not kept.exists() or not kept.samefile(place):
                aside = folder / f".{name}.{os.getpid()}"
                aside.unlink(missing_ok=True)
                _link_or_copy(place.resolve(), aside)
                aside.replace(kept)
        return Artifact(source.key, source.kind, folder)

    @contextmanager
    def alone(self, key: str, waiting: Callable[[], None]) -> Iterator[int]:
        """Hold a key against other builds; a process that inherits this descriptor holds it, too.

        `waiting` is called once before waiting for a build that holds it.
        """
        make_folders(self.root / "locks")
        with (self.root / "locks" / key).open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock.fileno()

    @contextmanager
    def making(self, key: str, waiting: Callable[[], None]) -> Iterator[Making | None]:
        """Hold what is needed to make an artifact; None when somebody else has made it by now.

        `waiting` is called once before waiting for another build that makes the same.
        """
        with self.alone(key, waiting) as lock:
            if self.artifact(key) is not None:
                shutil.rmtree(self.root / "checkpoints" / key, ignore_errors=True)
                yield None
                return
            for left in (self.root / "incoming").glob(f"{key}.*"):
                shutil.rmtree(left, ignore_errors=True)
            make_folders(self.root / "incoming")
            make_folders(self.root / "checkpoints" / key)
            incoming = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=self.root / "incoming"))
            try:
                yield Making(self, key, incoming, lock)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)

    def evaluation(self, key: str) -> Path:
        """Where an evaluation is kept, if there is one."""
        return self.root / "evaluations" / f"{key}.json"

    def kept_reference(self, key: str) -> Path:
        """Where is kept what a reference gives for texts; only whoever is `alone` with the key writes there."""
        make_folders(self.root / "references" / key)
        return self.root / "references" / key

    def size_bytes(self) -> int:
        """What all of it takes on the disk; a source that is linked takes nothing."""
        return sum(
            status.st_size
            for path in self.root.rglob("*")
            if path.is_file() and (status := path.stat()).st_nlink == 1
        )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `clean` away as long as this is held; any number of builds may hold it."""
        with self._lock(fcntl.LOCK_SH):
            yield

    def clean(self, keep: Collection[str]) -> int:
        """Remove what was made under other keys than these; how many bytes that were.

        Raises:
            InputInvalidError: there is no workspace, or a build is at work in it.
        """
        if not self.root.is_dir():
            raise InputInvalidError(f"there is no workspace {self.root} to clean", param="workspace")
        try:
            with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
                before_bytes = self.size_bytes()
                for shelf in _SHELVES:
                    for path in sorted((self.root / shelf).glob("*")):
                        if path.name.partition(".")[0] in keep and shelf not in _PASSING:
                            continue
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                return before_bytes - self.size_bytes()
        except BlockingIOError as error:
            raise InputInvalidError(
                f"a build is at work in {self.root}; clean it when that has ended", param="workspace"
            ) from error

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        make_folders(self.root / "locks")
        with (self.root / "locks" / "workspace").open("wb") as lock:
            fcntl.flock(lock, kind)
            yield


def _link_or_copy(place: Path, target: Path) -> None:
    try:
        target.hardlink_to(place)
    except OSError:  # another file system, or somebody else's file
        shutil.copyfile(place, target)


class Making:
    """One artifact on its way.

    Attributes:
        lock: a descriptor; a process that inherits it keeps others from making the same.
    """

    def __init__(self, workspace: Workspace, key: str, incoming: Path, lock: int) -> None:
        self._workspace = workspace
        self._key = key
        self._incoming = incoming
        self.lock = lock
        self.checkpoints = workspace.root / "checkpoints" / key
        self.directory = incoming / _MADE
        self.directory.mkdir()

    def done(self, record: StepRecord) -> Artifact:
        """Put the artifact in its place, for good."""
        for path in self.directory.rglob("*"):
            sync(path)
            if path.is_file():
                path.chmod(0o444)
        sync(self.directory)
        write_durably(self._incoming / _RECORD, msgspec.json.encode(record))
        self._incoming.chmod(0o755)
        target = self._workspace.root / "artifacts" / self._key
        make_folders(target.parent)
        self._incoming.rename(target)
        sync(target.parent)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        return Artifact(self._key, record.kind, target / _MADE)
