"""Every key that Edgeward writes to the object store, drawn as a tree; no other file spells a key.

packs/ab/<sha256>              immutable   chunks, concatenated
manifests/<name>/<version>.eaf immutable   what a release contains
deltas/<new>/<base>            immutable   from one manifest's release to another's, both by digest
channels/<name>.msgpack        by If-Match which version each channel of a model points at
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
DELTAS = "deltas/"
CHANNELS = "channels/"
PROBES = "probes/"

_MANIFEST = re.compile(rf"{MANIFESTS}(?P<name>.+)/(?P<version>[^/]+)\.eaf")
_DELTA = re.compile(rf"{DELTAS}[0-9a-f]{{64}}/[0-9a-f]{{64}}")
_PACK = re.compile(rf"{PACKS}(?P<fan>[0-9a-f]{{2}})/(?P<digest>(?P=fan)[0-9a-f]{{62}})")


def pack_key(digest: Digest) -> str:
    """Where the pack with this digest lies."""
    return f"{PACKS}{digest[:2]}/{digest}"


def manifest_key(name: str, version: str) -> str:
    """Where the manifest of a release lies."""
    return f"{MANIFESTS}{check_name(name)}/{check_version(version)}.eaf"


def delta_key(new: Digest, base: Digest) -> str:
    """Where the delta that makes the release of one manifest out of another's lies, if there is one."""
    return f"{DELTAS}{new}/{base}"


def channels_key(name: str) -> str:
    """Where the channels of a model lie."""
    return f"{CHANNELS}{check_name(name)}.msgpack"


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


def is_delta_key(key: str) -> bool:
    """Whether a key, perhaps from a stranger, is exactly that of a delta."""
    return _DELTA.fullmatch(key) is not None
