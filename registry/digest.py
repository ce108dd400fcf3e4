"""Digest: the name of some bytes, as the sha256 of the bytes in lower-case hex."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from registry.errors import InputInvalidError

Digest = NewType("Digest", str)
"""64 lower-case hex digits: the sha256 of some bytes."""

DIGEST_BYTES = 32
_HEX = re.compile(r"[0-9a-f]{64}")


def digest_of(data: bytes | bytearray | memoryview) -> Digest:
    """The digest of bytes in memory. Releases the GIL for anything larger than 2 KiB."""
    return Digest(hashlib.sha256(data).hexdigest())


def parse_digest(text: str) -> Digest:
    """A digest from its hex form.

    Raises:
        InputInvalidError: not 64 lower-case hex digits.
    """
    if not _HEX.fullmatch(text):
        raise InputInvalidError(f"{text[:80]!r} is not a sha256 digest (64 lower-case hex digits)")
    return Digest(text)
