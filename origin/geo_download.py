"""Gets a database of addresses from its publisher: checked before it takes the place of the one in use."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
import zlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from origin.errors import GeoDownloadError
from origin.geo_files import open_database
from registry.durable import make_folders, sync
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_READ_BYTES = 2**20
_LIMIT_BYTES = 2**31
_GZIP_WINDOW = 31  # zlib's word for gzip
_GZIP_MAGIC = b"\x1f\x8b"


def download_database(url: str, path: Path, *, timeout_s: float = 30.0) -> tuple[str, int]:
    """Fetch a database (`.mmdb`, also in gzip) and put it in place as a whole; an origin that runs takes it over.

    Returns:
        Its kind, as it says itself, and its size in bytes.

    Raises:
        InputInvalidError: the URL is none that can be fetched.
        GeoDownloadError: it cannot be fetched, or what came is no database; the file in place stays.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise InputInvalidError(f"{url[:200]!r} is not an http:// or https:// URL", param="url")
    make_folders(path.parent)
    temporary = path.with_name(f".{path.name}.new")
    try:
        try:
            size_bytes = _fetch(url, temporary, timeout_s)
        except (OSError, ValueError, zlib.error, http.client.HTTPException) as error:
            raise GeoDownloadError(f"{url} cannot be fetched: {_reason(error)}") from error
        try:
            with open_database(temporary) as reader:
                kind = reader.metadata().database_type
        except InputInvalidError as error:
            raise GeoDownloadError(f"what {url} gives is no database of addresses (.mmdb)") from error
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return kind, size_bytes


def _fetch(url: str, path: Path, timeout_s: float) -> int:
    free_bytes = shutil.disk_usage(path.parent).free
    with urllib.request.urlopen(url, timeout=timeout_s) as answer, path.open("wb") as file:  # noqa: S310  checked
        expected = answer.headers.get("Content-Length", "")
        written = 0
        got = _Counted(answer)
        for piece in _unpacked(got):
            written += len(piece)
            if written > min(_LIMIT_BYTES, free_bytes):
                raise ValueError(f"it is larger than {min(_LIMIT_BYTES, free_bytes)} bytes")
            file.write(piece)
        if expected.isdigit() and int(expected) != got.bytes_count:
            raise ValueError(f"it broke off after {got.bytes_count} of {expected} bytes")
    return written


class _Counted:
    """Reads, and counts what it has read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.bytes_count = 0

    def read(self) -> bytes:
        piece = self._source.read(_READ_BYTES)
        self.bytes_count += len(piece)
        return piece


def _unpacked(source: _Counted) -> Iterator[bytes]:
    piece = source.read()
    if not piece.startswith(_GZIP_MAGIC):
        while piece:
            yield piece
            piece = source.read()
        return
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    while piece:
        # Bounded: a small body can unpack to any size.
        yield unpacker.decompress(piece, _READ_BYTES)
        piece = unpacker.unconsumed_tail or source.read()
    if not unpacker.eof:
        raise ValueError("the compressed file broke off")


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
