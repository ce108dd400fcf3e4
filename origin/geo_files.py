"""GeoFiles: databases of addresses on the disk (MaxMind's format), looked at, and opened anew when they change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import maxminddb
import structlog

from origin.geo.places import UNKNOWN, AddressRecord, joined, read_record
from registry.errors import InputInvalidError
from registry.file_stamp import file_stamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from registry.addresses import Address
    from registry.file_stamp import FileStamp

log = structlog.get_logger()


@dataclass(slots=True)
class _Opened:
    path: Path
    stamp: FileStamp | None = None
    reader: maxminddb.Reader | None = None


class GeoFiles:
    """Several databases asked as one: the first that knows a place, a country, an AS counts."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [_Opened(path) for path in paths]

    def refresh(self) -> bool:
        """Open what has changed on the disk; whether anything did.

        A file that is gone or damaged leaves the one that was read before in use.
        """
        changed = False
        for file in self._files:
            stamp = file_stamp(file.path)
            if stamp == file.stamp:
                continue
            file.stamp = stamp
            if stamp is None:
                log.warning("geo_file.lost", path=str(file.path))
                continue
            try:
                reader = open_database(file.path)
            except InputInvalidError as error:
                log.warning("geo_file.refused", path=str(file.path), reason=error.message)
                continue
            if file.reader is not None:
                file.reader.close()
            file.reader, changed = reader, True
            log.info("geo_file.opened", path=str(file.path), kind=reader.metadata().database_type)
        return changed

    def look_up(self, address: Address) -> AddressRecord:
        """What the databases say of an address; all unknown where none does."""
        found = UNKNOWN
        for file in self._files:
            if file.reader is None:
                continue
            try:
                raw, bits = file.reader.get_with_prefix_len(address)
            except (ValueError, maxminddb.InvalidDatabaseError):
                continue  # an IPv6 address in a database of IPv4, or damage past the head
            found = joined(found, read_record(raw, bits))
        return found

    def close(self) -> None:
        """Close all."""
        for file in self._files:
            if file.reader is not None:
                file.reader.close()
            file.reader = file.stamp = None


def open_database(path: Path) -> maxminddb.Reader:
    """A database, sound as far as its head and one look-up tell.

    Raises:
        InputInvalidError: it cannot be read, or is none.
    """
    try:
        reader = maxminddb.open_database(path)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise InputInvalidError(f"{path} is not a database of addresses (.mmdb): {error}") from error
    try:
        reader.get("192.0.2.1")
    except (ValueError, maxminddb.InvalidDatabaseError) as error:
        reader.close()
        raise InputInvalidError(f"{path} is a damaged database of addresses: {error}") from error
    return reader
