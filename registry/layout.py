"""Every key that Edgeward writes to the object store, drawn as a tree; no other file spells a key.

packs/ab/<sha256>                       immutable   chunks, concatenated
manifests/<name>/<version>.<sha256>.eaf immutable   what a release contains; the signed metadata say which are true
deltas/<new>/<base>                     immutable   from one manifest's release to another's, both by digest
tuf/N.<role>.json                       immutable   signed metadata: roots, targets, publishers' roles, snapshots
tuf/timestamp.json                      by If-Match the newest snapshot; the one key of them that is ever replaced
enrolment/tokens/<id>                   by If-Match what a join token may do and whom it let in; never its secret
enrolment/nodes/<node id>               by If-Match which key a node was let in with
enrolment/revoked                       by If-Match the nodes that were turned out
condemned/<random>                      removed     objects that a garbage collection is about to remove
probes/<random>                         removed     proof that the store does conditional writes
"""

from __future__ import annotations

import re

from registry.digest import Digest, parse_digest
from registry.errors import InputInvalidError
from registry.reference import check_name, check_version

PACKS = "packs/"
MANIFESTS = "manifests/"
DELTAS = "deltas/"
TRUST = "tuf/"
JOIN_TOKENS = "enrolment/tokens/"
ENROLLED_NODES = "enrolment/nodes/"
REVOKED_NODES = "enrolment/revoked"
CONDEMNED = "condemned/"
PROBES = "probes/"

_MANIFEST = re.compile(rf"{MANIFESTS}(?P<name>.+)/(?P<version>[^/]+)\.(?P<digest>[0-9a-f]{{64}})\.eaf")
_DELTA = re.compile(rf"{DELTAS}(?P<new>[0-9a-f]{{64}})/(?P<base>[0-9a-f]{{64}})(?:\.[1-9][0-9]{{0,5}})?")
_TRUST_FILE = re.compile(r"(?:timestamp|[1-9][0-9]{0,9}\.[a-z0-9][a-z0-9._-]{0,127})\.json")
_TOKEN_ID = re.compile(r"[0-9a-f]{12}")
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PACK = re.compile(rf"{PACKS}(?P<fan>[0-9a-f]{{2}})/(?P<digest>(?P=fan)[0-9a-f]{{62}})")


def pack_key(digest: Digest) -> str:
    """Where the pack with this digest lies."""
    return f"{PACKS}{digest[:2]}/{digest}"


def manifest_key(name: str, version: str, digest: Digest) -> str:
    """Where the manifest of a release lies.

    The digest is in the key, so that whoever wrote first cannot keep others from a version: the signed metadata alone
    decide which manifest a version has.
    """
    return f"{MANIFESTS}{check_name(name)}/{check_version(version)}.{parse_digest(digest)}.eaf"


def trust_key(file: str) -> str:
    """Where a file of signed metadata lies, such as `timestamp.json` or `3.root.json`."""
    if not is_trust_file(file):
        raise InputInvalidError(f"{file[:80]!r} is not the name of a file of signed metadata", param="file")
    return f"{TRUST}{file}"


def delta_key(new: Digest, base: Digest, part: int = 0) -> str:
    """Where the delta from one manifest's release to another's lies, or a part of it, if there is one."""
    return f"{DELTAS}{new}/{delta_part(base, part)}"


def delta_part(base: Digest, part: int) -> str:
    """How a part of a delta is named after the base: the first, number 0, as the base itself."""
    return f"{base}.{part}" if part else base


def deltas_prefix(new: Digest) -> str:
    """What the keys of all deltas to the release of one manifest start with."""
    return f"{DELTAS}{new}/"


def join_token_key(token_id: str) -> str:
    """Where it is kept what a join token may do. Raises InputInvalidError."""
    if not _TOKEN_ID.fullmatch(token_id):
        raise InputInvalidError(f"{token_id[:80]!r} is not the id of a join token", param="token_id")
    return f"{JOIN_TOKENS}{token_id}"


def enrolled_node_key(node_id: str) -> str:
    """Where it is kept which key a node was let in with. Raises InputInvalidError."""
    if not _NODE_ID.fullmatch(node_id):
        raise InputInvalidError(f"{node_id[:80]!r} is not the id of a node", param="node_id")
    return f"{ENROLLED_NODES}{node_id}"


def condemned_key(nonce: str) -> str:
    """Where a garbage collection says what it is about to remove; `nonce` is new for each."""
    return f"{CONDEMNED}{nonce}"


def probe_key(nonce: str) -> str:
    """Where a proof of conditional writes is tried; `nonce` is new for each."""
    return f"{PROBES}{nonce}"


def parse_manifest_key(key: str) -> tuple[str, str, Digest] | None:
    """The name, the version and the digest that a manifest's key spells; None for any other key."""
    match = _MANIFEST.fullmatch(key)
    return (match["name"], match["version"], Digest(match["digest"])) if match else None


def is_trust_file(file: str) -> bool:
    """Whether a name, perhaps from a stranger, is that of a file of signed metadata."""
    return _TRUST_FILE.fullmatch(file) is not None


def is_pack_key(key: str) -> bool:
    """Whether a key, perhaps from a stranger, is exactly that of a pack."""
    return _PACK.fullmatch(key) is not None


def named_digest(key: str) -> Digest | None:
    """The digest of the bytes under a key, where the key is named by them: that of a pack; None for any other key."""
    match = _PACK.fullmatch(key)
    return Digest(match["digest"]) if match else None


def is_delta_key(key: str) -> bool:
    """Whether a key, perhaps from a stranger, is exactly that of a delta or of a part of one."""
    return _DELTA.fullmatch(key) is not None


def parse_delta_key(key: str) -> tuple[Digest, Digest] | None:
    """The digests of the new manifest and of the base's that a delta's key spells; None for any other key."""
    match = _DELTA.fullmatch(key)
    return (Digest(match["new"]), Digest(match["base"])) if match else None
