"""A release's directory as one signed file; the same directory gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import tempfile
from typing import TYPE_CHECKING

from deploy.unpack import MAGIC, machine_tags

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from registry.trust.keys import DetachedSigner

_READ_BYTES = 1 << 20


def write_bundle(
    tree: Path,
    directory: Path,
    *,
    version: str,
    cpu_features: Sequence[str],
    signer: DetachedSigner,
    level: int = 6,
) -> Path:
    """Pack and sign; returns the file, `edgeward-VERSION-PYTHON-PLATFORM.bundle` in the directory.

    Args:
        tree: the release's directory.
        directory: where the file goes.
        version: of the release.
        cpu_features: what the processor must be able to do, in the kernel's words.
        signer: of an Ed25519 key.
        level: of the compression, 1 to 9.
    """
    python, platform = machine_tags()
    target = directory / f"edgeward-{version}-{python}-{platform}.bundle"
    with tempfile.TemporaryFile(dir=directory) as payload:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=payload, compresslevel=level, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            for path in sorted(tree.rglob("*")):
                archive.add(path, str(path.relative_to(tree)), recursive=False, filter=_plain)
        length = payload.tell()
        payload.seek(0)
        sha = hashlib.file_digest(payload, "sha256").hexdigest()
        manifest = json.dumps(
            {
                "version": version, "python": python, "platform": platform, "cpu_features": sorted(cpu_features),
                "payload_bytes": length, "payload_sha256": sha,
            },
            sort_keys=True,
        ).encode()  # fmt: skip
        head = signed_head(manifest, signer)
        payload.seek(0)
        part = target.with_suffix(".part")
        with part.open("wb") as sink:
            sink.write(head + manifest)
            while data := payload.read(_READ_BYTES):
                sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        part.rename(target)
    return target


def signed_head(manifest: bytes, signer: DetachedSigner) -> bytes:
    """The first line of a bundle with this manifest."""
    signature = signer.sign(MAGIC + b"\0" + manifest)
    return MAGIC + f" {len(manifest)} {signature}\n".encode()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = 0
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member
