"""Manifest: what a release contains, which chunks that is, and in which packs they lie; to bytes and back.

Whoever holds a decoded Manifest may write its files and read its ranges without checking anything again.
"""

from __future__ import annotations

from registry.manifest.checks import check_paths
from registry.manifest.codec import (
    MANIFEST_LIMIT_BYTES,
    UNPACKED_LIMIT_BYTES,
    decode_manifest,
    encode_manifest,
    manifest_digest,
    pack_manifest,
    stored_limit_bytes,
    unpack_manifest,
)
from registry.manifest.contents import (
    Chunk,
    Manifest,
    Needs,
    Pack,
    Piece,
    ReleaseFile,
    Variant,
    content_digest,
    files_digest,
)
from registry.manifest.lineage import Lineage, lineage_of, pack_lineage
from registry.manifest.part import Part, part_of

__all__ = [
    "MANIFEST_LIMIT_BYTES",
    "UNPACKED_LIMIT_BYTES",
    "Chunk",
    "Lineage",
    "Manifest",
    "Needs",
    "Pack",
    "Part",
    "Piece",
    "ReleaseFile",
    "Variant",
    "check_paths",
    "content_digest",
    "decode_manifest",
    "encode_manifest",
    "files_digest",
    "lineage_of",
    "manifest_digest",
    "pack_lineage",
    "pack_manifest",
    "part_of",
    "stored_limit_bytes",
    "unpack_manifest",
]
