"""Files read once, in order: cut, hashed and compressed by a few threads, never more than a few pieces in memory."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from registry.chunking import Cut, cut
from registry.digest import Digest, digest_of
from registry.errors import ArtifactError, InputInvalidError
from registry.packing import encode_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from registry.publish.source_files import SourceFile

_THREADS_LIMIT_COUNT = 4
_THOROUGH_LIMIT_BYTES = 8 * 1024 * 1024
_HASHED_BYTES = 256 * 1024  # stays in a core's cache between the copy and the hash
_AHEAD_COUNT = 3  # pieces read ahead for each thread


class ReadPiece(NamedTuple):
    """One piece of a file: its digest, how it was cut, and its stored form unless it is known already."""

    digest: Digest
    raw_bytes: int
    cut: Cut
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
    with open_unchanged(file) as descriptor:
        return _digest_of_file(file, descriptor, advance)


class FileIntake:
    """The pieces of one file, in order; `digest` of the whole file is there once all were taken.

    A piece may have stretches from all over the file, so the whole is hashed beside, not out of the pieces.
    """

    def __init__(self, file: SourceFile, known: Container[Digest]) -> None:
        self._file = file
        self._known = known
        self._digest: Digest | None = None
        self._stopped = False
        # Of a large file of an unknown format nobody knows that it is worth the time.
        self._thorough = file.format.kind != "file" or file.stamp.size_bytes <= _THOROUGH_LIMIT_BYTES

    @property
    def digest(self) -> Digest:
        """The digest of the whole file, after its last piece."""
        assert self._digest is not None
        return self._digest

    def pieces(self) -> Iterator[ReadPiece]:
        """Read the file.

        Raises:
            ArtifactError: it was changed meanwhile.
        """
        threads_count = min(_THREADS_LIMIT_COUNT, os.cpu_count() or 1)
        waiting: deque[Future[ReadPiece]] = deque()
        with open_unchanged(self._file) as descriptor, ThreadPoolExecutor(threads_count + 1) as threads:
            try:
                whole = threads.submit(_digest_of_file, self._file, descriptor, self._go_on)
                for piece in cut(self._file.format.spans):
                    waiting.append(threads.submit(self._take, descriptor, piece))
                    if len(waiting) > threads_count * _AHEAD_COUNT:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
                self._digest = whole.result()
            finally:
                self._stopped = True
                threads.shutdown(cancel_futures=True)

    def _go_on(self, _length_bytes: int) -> None:
        if self._stopped:
            raise CancelledError

    def _take(self, descriptor: int, piece: Cut) -> ReadPiece:
        raw = read_cut(self._file, descriptor, piece)
        digest = digest_of(raw)
        stored = (
            None if digest in self._known else encode_chunk(raw, piece.segments if self._thorough else ())
        )
        return ReadPiece(digest, len(raw), piece, stored)


def read_cut(file: SourceFile, descriptor: int, piece: Cut) -> bytes:
    """The bytes of a piece of an open file.

    Raises:
        ArtifactError: the file became shorter.
    """
    parts = [_read(file, descriptor, *extent) for extent in piece.extents]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _digest_of_file(file: SourceFile, descriptor: int, advance: Callable[[int], None]) -> Digest:
    whole = hashlib.sha256()
    buffer = memoryview(bytearray(_HASHED_BYTES))
    for offset in range(0, file.stamp.size_bytes, _HASHED_BYTES):
        part = buffer[: min(_HASHED_BYTES, file.stamp.size_bytes - offset)]
        if os.preadv(descriptor, [part], offset) != len(part):
            raise _shorter(file)
        whole.update(part)
        advance(len(part))
    return Digest(whole.hexdigest())


def _read(file: SourceFile, descriptor: int, offset_bytes: int, length_bytes: int) -> bytes:
    data = os.pread(descriptor, length_bytes, offset_bytes)
    if len(data) != length_bytes:
        raise _shorter(file)
    return data


def _shorter(file: SourceFile) -> ArtifactError:
    return ArtifactError(
        f"{file.location} became shorter while it was published; publish again when it rests"
    )
