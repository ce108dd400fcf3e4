"""How names of models, channels and nodes are written as labels of DNS, and names as DNS carries them."""

from __future__ import annotations

import hashlib
import re

_LABEL_LIMIT_BYTES = 63
_NAME_LIMIT_BYTES = 255
_DIGEST_CHARACTERS = 8
_FOREIGN = re.compile(r"[^a-z0-9-]")


def label_of(name: str) -> str:
    """A name as one label: small letters, `/` as `--`, every other foreign character as `-`.

    `qwen2.5-0.5b` is `qwen2-5-0-5b`, and `team/chat` is `team--chat`. What is longer than a label may be ends in
    eight hexadecimal digits of its sha256.
    """
    label = _FOREIGN.sub("-", name.lower().replace("/", "--"))
    if len(label) > _LABEL_LIMIT_BYTES:
        kept = _LABEL_LIMIT_BYTES - _DIGEST_CHARACTERS - 1
        label = f"{label[:kept]}-{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARACTERS]}"
    return label.strip("-") or "x"


def name_bytes(labels: tuple[str, ...], above: bytes = b"\0") -> bytes | None:
    """A name as DNS carries it (RFC 1035 section 3.1), in front of another; None when that is over 255 bytes."""
    parts = [bytes([len(label)]) + label.encode("ascii") for label in labels]
    whole = b"".join(parts) + above
    return whole if len(whole) <= _NAME_LIMIT_BYTES else None


def zone_bytes(zone: str) -> bytes:
    """A checked domain name as DNS carries it."""
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in zone.split(".")) + b"\0"


def is_below(name: bytes, zone: bytes) -> bool:
    """Whether a name is well formed, whole labels all the way, and in a zone; both as DNS carries them."""
    first_of_zone = len(name) - len(zone)
    if len(name) > _NAME_LIMIT_BYTES or not name.endswith(zone):
        return False
    at = 0
    while at < first_of_zone:
        length = name[at]
        if not 0 < length <= _LABEL_LIMIT_BYTES:
            return False
        at += length + 1
    return at == first_of_zone
