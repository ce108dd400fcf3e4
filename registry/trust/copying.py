"""Copying: the signed metadata of one store written into another, so that whoever reads there can check as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Timestamp

from registry.errors import (
    ObjectMissingError,
    ReleaseConflictError,
    TrustMissingError,
    TrustRollbackError,
)
from registry.layout import TRUST, trust_key
from registry.trust.reader import read_bounded
from registry.trust.verification import ROOT_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.store import ObjectStore
    from registry.trust.reader import StoreReader

_ROOT = ".root.json"
_TIMESTAMP = "timestamp.json"


def signed_files(reader: StoreReader) -> dict[str, bytes]:
    """All signed metadata that are true now, and every root, since others may have begun with an older one.

    Raises:
        TrustMissingError: nothing is signed yet.
        TrustError: what is there is refused.
    """
    verified, _ = reader.read()
    if verified is None:
        raise TrustMissingError("nothing is signed in the store that is copied")
    for problem in verified.problems.values():
        raise problem
    files = dict(verified.files)
    for info in reader.store.list(TRUST):
        file = info.key.removeprefix(TRUST)
        if file.endswith(_ROOT) and file not in files and int(file.split(".")[0]) < verified.root.version:
            data = read_bounded(reader.store, info.key, ROOT_LIMIT_BYTES)
            if data is not None:
                files[file] = data
    return files


def copy_signed_files(files: Mapping[str, bytes], target: ObjectStore) -> int:
    """Write what is missing, the timestamp last; how many files that were.

    Raises:
        ReleaseConflictError: the target has other signed metadata.
        TrustRollbackError: the target is newer.
    """
    copied_count = 0
    before = _timestamp(target)
    if before is not None and before[0] == files[_TIMESTAMP]:
        return 0
    if before is not None and _version(before[0]) >= _version(files[_TIMESTAMP]):
        raise TrustRollbackError(
            "what is signed in the target is as new as what should be copied, or newer; copy the other way"
        )
    # Roots late: whoever reads the target meanwhile has a new root and an old timestamp for a moment only.
    for file in sorted(files.keys() - {_TIMESTAMP}, key=lambda file: (file.endswith(_ROOT), file)):
        key = trust_key(file)
        if target.put_if_absent(key, files[file]):
            copied_count += 1
        elif target.get(key).data != files[file]:
            raise ReleaseConflictError(
                f"the target has another {key}: others publish into it, with other keys"
            )
    target.put_if_match(trust_key(_TIMESTAMP), files[_TIMESTAMP], None if before is None else before[1])
    return copied_count + 1


def _timestamp(store: ObjectStore) -> tuple[bytes, str] | None:
    try:
        stored = store.get(trust_key(_TIMESTAMP))
    except ObjectMissingError:
        return None
    return stored.data, stored.etag


def _version(timestamp: bytes) -> int:
    try:
        return Metadata[Timestamp].from_bytes(timestamp).signed.version
    except RepositoryError:
        return 0
