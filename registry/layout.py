"""Every key that Edgeward writes to the object store, drawn as a tree; no other file spells a key.

packs/ab/<sha256>              immutable   chunks, concatenated
manifests/<name>/<version>.eaf immutable   what a release contains
channels/<name>.msgpack        by If-Match which version each channel of a model points at
removed/<name>/<version>.eaf   by If-Match manifests of removed releases, until their packs may go
condemned/<random>             removed     packs that a garbage collection is about to remove
probes/<random>                removed     proof that the store does conditional writes
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.reference import check_name, check_version

if TYPE_CHECKING:
    from registry.digest import Digest

PACKS = "packs/"
MANIFESTS = "manifests/"
CHANNELS = "channels/"
REMOVED = "removed/"
CONDEMNED = "condemned/"
PROBES = "probes/"

_MANIFEST = re.compile(rf"{MANIFESTS}(?P<name>.+)/(?P<version>[^/]+)\.eaf")
_PACK = re.compile(rf"{PACKS}(?P<fan>[0-9a-f]{{2}})/(?P<digest>(?P=fan)[0-9a-f]{{62}})")


def pack_key(digest: Digest) -> str:
    """Where the pack with this digest lies."""
    return f"{PACKS}{digest[:2]}/{digest}"


def manifest_key(name: str, version: str) -> str:
    """Where the manifest of a release lies."""
    return f"{MANIFESTS}{check_name(name)}/{check_version(version)}.eaf"


def channels_key(name: str) -> str:
    """Where the channels of a model lie."""
    return f"{CHANNELS}{check_name(name)}.msgpack"


def removed_key(name: str, version: str) -> str:
    """Where the manifest of a removed release is kept for a while."""
    return f"{REMOVED}{check_name(name)}/{check_version(version)}.eaf"


def condemned_key(nonce: str) -> str:
    """Where a garbage collection says what it is about to remove; `nonce` is new for each."""
    return f"{CONDEMNED}{nonce}"


def probe_key(nonce: str) -> str:
    """Where a proof of conditional writes is tried; `nonce` is new for each."""
    return f"{PROBES}{nonce}"


def parse_manifest_key(key: str) -> tuple[str, str] | None:
    """The name and version that a manifest's key spells; None for any other key."""
    match = _MANIFEST.fullmatch(key)
    return (match["name"], match["version"]) if match else None


def is_pack_key(key: str) -> bool:
    """Whether a key, perhaps from a stranger, is exactly that of a pack."""
    return _PACK.fullmatch(key) is not None
