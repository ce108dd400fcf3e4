"""Kept: what a reader has verified, remembered in a directory, so that a restart does not fall for an old store."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Protocol

from registry.digest import digest_of
from registry.durable import make_folders, write_durably
from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registry.trust.verification import Kept

_NAME_LENGTH = 16


class Keeping(Protocol):
    """Where a reader's knowledge lies between its readings."""

    @property
    def place(self) -> str:
        """Where that is, for whoever must delete it."""
        ...

    def turn(self) -> contextlib.AbstractContextManager[Kept]:
        """The files, for one reading alone; what is changed in them is kept when it ends, in whatever way."""
        ...

    def load(self) -> Kept:
        """The files."""
        ...

    def save(self, files: Kept) -> None:
        """Keep the files as they are now."""
        ...


class KeptInMemory:
    """Knowledge that ends with the process: for one command, and for tests. It belongs to one thread."""

    place = "this process's memory"

    def __init__(self) -> None:
        self.files: Kept = {}

    @contextlib.contextmanager
    def turn(self) -> Iterator[Kept]:
        """The files themselves."""
        yield self.files

    def load(self) -> Kept:
        """The files themselves."""
        return self.files

    def save(self, files: Kept) -> None:
        """Keep the files as they are now."""
        self.files = files


class KeptInDirectory:
    """Knowledge that outlives the process, for one root of trust and one place that is read.

    Several processes may share it by `turn`, so that none writes older knowledge over newer; `load` and `save` are for
    a directory that belongs to one process.
    """

    def __init__(self, directory: Path, pin: bytes, scope: str = "") -> None:
        self.directory = directory / digest_of(pin + b"\0" + scope.encode())[:_NAME_LENGTH]

    @property
    def place(self) -> str:
        """The directory."""
        return str(self.directory)

    @contextlib.contextmanager
    def turn(self) -> Iterator[Kept]:
        """The files, alone.

        Raises:
            ConfigError: the directory cannot be used.
        """
        self._make()
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = self.load()
            try:
                yield files
            finally:
                self.save(files)
        finally:
            os.close(lock)

    def load(self) -> Kept:
        """The files.

        Raises:
            ConfigError: the directory cannot be used.
        """
        self._make()
        return {path.name: path.read_bytes() for path in self.directory.glob("[!.]*.json")}

    def save(self, files: Kept) -> None:
        """Write what is new, durably."""
        before = self.load()
        # Roots first, then what they vouch for: a crash in between leaves older knowledge, never a contradiction.
        order = sorted(
            files, key=lambda name: (not name.endswith("root.json"), name != "timestamp.json", name)
        )
        for name in order:
            if before.get(name) != files[name]:
                write_durably(self.directory / name, files[name])

    def _make(self) -> None:
        try:
            make_folders(self.directory, 0o700)
        except OSError as error:
            raise ConfigError(
                f"cannot keep what was verified in {self.directory}: {error.strerror}"
            ) from error
