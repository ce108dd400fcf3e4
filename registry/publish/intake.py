"""Files read once, in order: cut, hashed and compressed by a few threads, never more than a few pieces in memory."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from registry.chunking import PIECE_LIMIT_BYTES, Cut, cut
from registry.digest import Digest, digest_of
from registry.errors import ArtifactError, InputInvalidError
from registry.packing import encode_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from registry.publish.source_files import SourceFile

_THREADS_LIMIT_COUNT = 4
_AHEAD_COUNT = 2  # pieces read ahead for each thread


class ReadPiece(NamedTuple):
    """One piece of a file: its digest, where it lies, and its stored form unless it is known already."""

    digest: Digest
    raw_bytes: int
    extents: Cut
    stored: bytes | None


@contextmanager
def open_unchanged(file: SourceFile) -> Iterator[int]:
    """A descriptor of a file that must stay as it is until it is closed.

    Raises:
        ArtifactError: the file was changed.
        InputInvalidError: it cannot be read.
    """
    try:
        descriptor = os.open(file.location, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputInvalidError(f"cannot read {file.location}: {error.strerror}", param="path") from error
    try:
        file.check_unchanged(descriptor)
        yield descriptor
        file.check_unchanged(descriptor)
    finally:
        os.close(descriptor)


def file_digest(file: SourceFile, advance: Callable[[int], None]) -> Digest:
    """The digest of a whole file; `advance` hears how many more bytes are done."""
    whole = hashlib.sha256()
    with open_unchanged(file) as descriptor:
        for offset in range(0, file.stamp.size_bytes, PIECE_LIMIT_BYTES):
            data = _read(file, descriptor, offset, min(PIECE_LIMIT_BYTES, file.stamp.size_bytes - offset))
            whole.update(data)
            advance(len(data))
    return Digest(whole.hexdigest())


class FileIntake:
    """The pieces of one file, in order; `digest` of the whole file is right once all were taken."""

    def __init__(self, file: SourceFile, known: Container[Digest]) -> None:
        self._file = file
        self._known = known
        self._whole = hashlib.sha256()

    @property
    def digest(self) -> Digest:
        """The digest of what was taken so far."""
        return Digest(self._whole.hexdigest())

    def pieces(self) -> Iterator[ReadPiece]:
        """Read the file.

        Raises:
            ArtifactError: it was changed meanwhile.
        """
        threads_count = min(_THREADS_LIMIT_COUNT, os.cpu_count() or 1)
        waiting: deque[Future[tuple[ReadPiece, bytes]]] = deque()
        with open_unchanged(self._file) as descriptor, ThreadPoolExecutor(threads_count) as threads:
            try:
                for extents in cut(self._file.format.spans):
                    waiting.append(threads.submit(self._take, descriptor, extents))
                    if len(waiting) > threads_count * _AHEAD_COUNT:
                        yield self._next(waiting)
                while waiting:
                    yield self._next(waiting)
            finally:
                threads.shutdown(cancel_futures=True)

    def _next(self, waiting: deque[Future[tuple[ReadPiece, bytes]]]) -> ReadPiece:
        piece, raw = waiting.popleft().result()
        self._whole.update(raw)
        return piece

    def _take(self, descriptor: int, extents: Cut) -> tuple[ReadPiece, bytes]:
        raw = b"".join(_read(self._file, descriptor, *extent) for extent in extents)
        digest = digest_of(raw)
        stored = None if digest in self._known else encode_chunk(raw)
        return ReadPiece(digest, len(raw), extents, stored), raw


def _read(file: SourceFile, descriptor: int, offset_bytes: int, length_bytes: int) -> bytes:
    data = os.pread(descriptor, length_bytes, offset_bytes)
    if len(data) != length_bytes:
        raise ArtifactError(
            f"{file.location} became shorter while it was published; publish again when it rests"
        )
    return data
