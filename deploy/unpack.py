"""The part of the installer that touches bytes: fetch a bundle, check its signature, unpack it, start what it holds.

It is spliced into `install.sh` and runs on a bare Python, standard library only. Nothing of a bundle is unpacked, let
alone run, before the signature of its manifest and the digest of all its bytes were right.

A bundle is one line, `edgeward-bundle 1 <bytes of the manifest> <signature in hex>`, the manifest (JSON), and the
payload, a tar.gz of one release's directory. The signature is Ed25519 over `edgeward-bundle 1`, a zero byte, and the
manifest, which holds the payload's length and sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"edgeward-bundle 1"
_HEAD = re.compile(rb"edgeward-bundle 1 ([1-9][0-9]{0,5}) ([0-9a-f]{128})\n")
_HEAD_LIMIT_BYTES = 256
_READ_BYTES = 1 << 20
_PATIENCE_S = 60
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+]{0,63}")


class Refused(Exception):
    """This bundle is not installed; the message says why and what to do."""


# ---- Ed25519, verification alone, as RFC 8032 section 5.1.7 says it, in extended coordinates (section 5.1.4)

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]


def _add(p: _Point, q: _Point) -> _Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(s: int, p: _Point) -> _Point:
    sum_: _Point = (0, 1, 1, 0)
    while s:
        if s & 1:
            sum_ = _add(sum_, p)
        p, s = _add(p, p), s >> 1
    return sum_


def _point(data: bytes) -> _Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        return None
    x2 = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if x2 == 0:
        return None if sign else (0, y, 1, 0)
    x = pow(x2, (_P + 3) // 8, _P)
    if (x * x - x2) % _P:
        x = x * _ROOT % _P
    if (x * x - x2) % _P:
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


_BASE = _point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature (64 bytes) of this message was made by the owner of the key (32 bytes)."""
    if len(key) != 32 or len(signature) != 64 or _BASE is None:
        return False
    a, r, s = _point(key), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= _L:
        return False
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    left = _times(s, _BASE)
    right = _add(r, _times(int.from_bytes(digest, "little") % _L, a))
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (
        left[1] * right[2] - right[1] * left[2]
    ) % _P == 0


# ---- the bundle


def checked_manifest(source: BinaryIO, key: bytes) -> dict[str, Any]:
    """The manifest at the start of a bundle, signed by the key; the payload comes next.

    Raises:
        Refused: it is no bundle, is cut off, or was signed by somebody else.
    """
    line = source.readline(_HEAD_LIMIT_BYTES)
    head = _HEAD.fullmatch(line)
    if head is None:
        raise Refused("this is no Edgeward bundle, or its first line was changed")
    manifest = source.read(int(head[1]))
    if len(manifest) != int(head[1]) or not is_signed(
        key, MAGIC + b"\0" + manifest, bytes.fromhex(head[2].decode())
    ):
        raise Refused(
            "the bundle's signature is not by the key that this installer trusts: it was changed on its way, or is "
            "another fleet's. Nothing was installed"
        )
    said: dict[str, Any] = json.loads(manifest)
    return said


def check_fits(manifest: dict[str, Any], *, version: str = "") -> None:
    """Whether this machine can run what the bundle holds.

    Raises:
        Refused: another version was asked for, or the machine differs in what matters.
    """
    if version and manifest["version"] != version:
        raise Refused(f"this bundle is version {manifest['version']}, and {version} was asked for")
    if not _VERSION.fullmatch(manifest["version"]):
        raise Refused("the bundle's version is no version")
    python, machine = machine_tags()
    if manifest["python"] != python or manifest["platform"] != machine:
        raise Refused(
            f"this bundle is for {manifest['python']} on {manifest['platform']}, and this machine has {python} on "
            f"{machine}: build one for it with `edgeward bundle build` on such a machine"
        )
    missing = sorted(set(manifest["cpu_features"]) - cpu_features())
    if missing:
        raise Refused(
            f"this processor lacks {', '.join(missing)}, which the bundle's engine needs: build one without"
        )


def machine_tags() -> tuple[str, str]:
    """The Python and the platform that a bundle must be for, such as `cp311` and `linux_x86_64`."""
    return f"cp{sys.version_info[0]}{sys.version_info[1]}", f"{sys.platform}_{platform.machine()}"


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the processor can do, in the kernel's words."""
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.exists() else []
    return set(
        next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "").split()
    )


def keep_payload(source: BinaryIO, manifest: dict[str, Any], sink: BinaryIO) -> None:
    """Copy the payload into a file of our own, and check it there.

    Raises:
        Refused: it is not what the manifest says.
    """
    sha, left = hashlib.sha256(), int(manifest["payload_bytes"])
    while left > 0 and (data := source.read(min(left, _READ_BYTES))):
        sha.update(data)
        sink.write(data)
        left -= len(data)
    if left or source.read(1) or sha.hexdigest() != manifest["payload_sha256"]:
        raise Refused(
            "the bundle was changed or cut off on its way: its bytes are not those that were signed"
        )
    sink.flush()
    os.fsync(sink.fileno())


def unpack(payload: BinaryIO, version: str, releases: Path) -> Path:
    """The release's directory, whole or not at all; one that is there already is put there anew."""
    target = releases / version
    scratch = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=releases))
    try:
        with tarfile.open(fileobj=payload, mode="r:gz") as archive:
            # Debian 12's Python knows no filters yet; where there are, the one that lets links lead to /usr/bin.
            archive.extraction_filter = getattr(tarfile, "tar_filter", None)
            archive.extractall(scratch)  # noqa: S202  # the bytes are those that were signed
        scratch.chmod(0o755)
        if target.exists():
            same = (target / "manifest.json").is_file()
            if same:  # what runs from it must not change under its feet: these are the same signed bytes
                return target
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    os.sync()
    return target


def opened(where: str) -> BinaryIO:
    """A bundle from the disk or the network.

    Raises:
        Refused: it is not there.
    """
    try:
        if where.startswith(("https://", "http://")):
            reply: BinaryIO = urllib.request.urlopen(where, timeout=_PATIENCE_S)  # noqa: S310  # these two alone
            return reply
        return Path(where).open("rb")
    except (OSError, ValueError) as error:
        raise Refused(f"{where} cannot be had: {error}") from error


def install(options: argparse.Namespace) -> Path:
    """Check and unpack the bundle; returns the release's directory.

    Raises:
        Refused: see above.
    """
    releases = Path(options.root, "usr/lib/edgeward/releases")
    with opened(options.bundle) as source:
        manifest = checked_manifest(source, bytes.fromhex(options.key))
        check_fits(manifest, version=options.version)
        print(f"edgeward {manifest['version']}: the signature is right", flush=True)
        with tempfile.TemporaryFile(dir=_made(releases.parent, options)) as payload:
            keep_payload(source, manifest, payload)
            print(f"{manifest['payload_bytes'] / 1e6:.0f} MB checked", flush=True)
            if options.dry_run:
                return releases / str(manifest["version"])
            payload.seek(0)
            target = unpack(payload, manifest["version"], _made(releases, options))
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def _made(directory: Path, options: argparse.Namespace) -> Path:
    if options.dry_run:
        return Path(tempfile.gettempdir())
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    return directory


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="install.sh", allow_abbrev=False)
    parser.add_argument("--key", required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--version", default="")
    parser.add_argument("--root", default="/")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("rest", nargs="*")
    return parser.parse_args(words)


def main(words: list[str]) -> int:  # noqa: RET503
    """Install; then the release's own `edgeward node install` does the rest. Returns the exit code."""
    options = _arguments(words)
    os.umask(0o022)
    try:
        target = install(options)
    except Refused as error:
        print(f"install.sh: {error}", file=sys.stderr)
        return 1
    except (OSError, urllib.error.URLError, tarfile.TarError, ValueError, KeyError) as error:
        print(f"install.sh: nothing was installed: {error}", file=sys.stderr)
        return 1
    if options.dry_run:
        print(f"--dry-run: it would be unpacked to {target}, and `edgeward node install` run from there")
        return 0
    python = str(target / "bin" / "python")
    command = [python, "-P", "-m", "deploy.cli", "node", "install", "--release", str(target), *options.rest]
    sys.stdout.flush()
    os.execv(python, command)  # noqa: S606  # this process becomes that one


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
