"""Prefixes on the disk: one directory of files, read and written by a thread beside the engine's.

A file appears whole, by a rename after its bytes are on the disk; one that is damaged, cut short, of another engine
or of another model is removed when it is met. Files hold prompts, so only this user may read them.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_node.engines.llama.prefix_file import (
    SUFFIX,
    Head,
    PrefixFileInvalidError,
    encode_head,
    file_name,
    head_of,
    read_head,
    read_payload,
)
from registry.durable import sync

if TYPE_CHECKING:
    from pathlib import Path

    from edge_node.engines.llama.prefix_file import State

# What else lies beside the prefixes: how many deterministic answers may share a batch (`determinism`).
ROWS_NAME = "deterministic_rows.json"
_TEMPORARY = ".new"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is there, by its head alone; the payload is checked when it is read."""

    path: Path
    head: Head
    size_bytes: int
    used_at_ns: int


class PrefixDisk:
    """The files of one release's prefixes.

    Attributes:
        refused_count: files that were found damaged or foreign.
    """

    def __init__(self, directory: Path, *, identity: str) -> None:
        self.refused_count = 0
        self._directory = directory
        self._identity = identity
        self._thread = ThreadPoolExecutor(1, "prefixes")

    def stored(self) -> list[Stored]:
        """What is there, the shortest prefixes first; all else that lies in the directory is removed."""
        found: list[Stored] = []
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            paths = sorted(path for path in self._directory.iterdir() if path.name != ROWS_NAME)
        except OSError as error:
            _say(f"no prefixes on the disk: {error}")
            return []
        for path in paths:
            try:
                found.append(self._inspect(path))
            except (PrefixFileInvalidError, OSError) as error:
                self.refuse(path, str(error))
        return sorted(found, key=lambda stored: len(stored.head.tokens))

    def read(self, path: Path) -> bytes | None:
        """The payload of a file; None when it is not what was written there, and then it is gone."""
        try:
            payload = read_file(path)
        except (PrefixFileInvalidError, OSError) as error:
            self.refuse(path, str(error))
            return None
        with suppress(OSError):
            os.utime(path)  # remembered over restarts: used now
        return payload

    def write(
        self, scope: str | None, start: int, tokens: list[int], payload: State
    ) -> Future[Stored | None]:
        """Keep a stretch, in a while; None when the disk does not take it."""
        return self._thread.submit(self._write, scope, start, tokens, payload)

    def remove(self, path: Path) -> None:
        """Delete a file, in a while."""
        self._thread.submit(_unlink, path)

    def refuse(self, path: Path, reason: str) -> None:
        """Remove a file that is not what it should be."""
        self.refused_count += 1
        _say(f"prefix {path.name} is of no use and goes: {reason}")
        _unlink(path)

    def close(self) -> None:
        """Wait until everything is written."""
        self._thread.shutdown()

    def _inspect(self, path: Path) -> Stored:
        with path.open("rb") as file:
            head = read_head(file)
            payload_start = file.tell()
        status = path.stat()
        if head.identity != self._identity:
            raise PrefixFileInvalidError("made for another model, engine or CPU")
        if path.name != file_name(head.identity, head.scope, head.start, head.token_ids()):
            raise PrefixFileInvalidError("its name is not that of what it holds")
        if status.st_size != payload_start + head.payload_bytes:
            raise PrefixFileInvalidError("cut short")
        return Stored(path, head, status.st_size, status.st_mtime_ns)

    def _write(self, scope: str | None, start: int, tokens: list[int], payload: State) -> Stored | None:
        head = head_of(self._identity, scope, start, tokens, payload)
        path = self._directory / file_name(self._identity, scope, start, tokens)
        temporary = path.with_name(path.name + _TEMPORARY)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(encode_head(head))
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
                size_bytes = file.tell()
            temporary.rename(path)
            sync(self._directory)
        except OSError as error:
            _say(f"a prefix of {len(payload)} bytes was not kept: {error}")
            _unlink(temporary)
            return None
        return Stored(path, head, size_bytes, path.stat().st_mtime_ns)


def read_file(path: Path) -> bytes:
    """The payload of a file.

    Raises:
        PrefixFileInvalidError: damaged.
        OSError: not there.
    """
    with path.open("rb") as file:
        return read_payload(file, read_head(file))


def published(directory: Path, names: tuple[str, ...], *, identity: str) -> tuple[list[Stored], int]:
    """The prefixes that a release brings and this engine can use, and how many it cannot."""
    usable: list[Stored] = []
    unusable_count = 0
    for name in names:
        if not name.endswith(SUFFIX):
            continue
        path = directory / name
        try:
            with path.open("rb") as file:
                head = read_head(file)
            if head.identity != identity or head.scope is not None or head.start:
                raise PrefixFileInvalidError("made for another model, engine or CPU")  # noqa: TRY301 - one way out
            usable.append(Stored(path, head, path.stat().st_size, 0))
        except (PrefixFileInvalidError, OSError) as error:
            unusable_count += 1
            _say(f"the published prefix {name} is computed here instead: {error}")
    return usable, unusable_count


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
