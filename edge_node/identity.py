"""Who this node is: an id made once and kept, and an incarnation that grows at every start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from registry.durable import make_folders, write_durably
from registry.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

_ID_FILE = "node.id"
_INCARNATION_FILE = "node.incarnation"
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Identity:
    """The node's id, and the number of this start: of two reports the larger incarnation is the newer."""

    node_id: str
    incarnation: int


def take_identity(data_dir: Path, *, node_id: str, fresh_id: str, now_unix_s: int) -> Identity:
    """The identity for this start of the node; the caller holds the data directory's lock.

    Args:
        data_dir: where the id is kept.
        node_id: the configured id; empty takes the kept one.
        fresh_id: the id to keep when there is neither.
        now_unix_s: the wall clock; the incarnation is at least this, and more than the last one when the
            clock went back.

    Raises:
        ConfigError: the kept id is not one.
    """
    node_id = node_id or kept_id(data_dir, fresh_id)
    incarnation = max(now_unix_s, _last_incarnation(data_dir / _INCARNATION_FILE) + 1)
    try:
        write_durably(data_dir / _INCARNATION_FILE, f"{incarnation}\n".encode())
    except OSError as error:  # on a full disk a node still serves what it holds, and its clock still runs
        log.warning("incarnation.not_kept", reason=str(error))
    return Identity(node_id, incarnation)


def fresh_id(hostname: str, suffix: str) -> str:
    """An id for a new node, which people recognise: the machine's name, and a suffix that no other has."""
    host = re.sub(r"[^A-Za-z0-9-]+", "-", hostname.split(".", maxsplit=1)[0]).strip("-")[:40]
    return f"{host or 'node'}-{suffix}"


def kept_id(data_dir: Path, fresh_id: str) -> str:
    """The node's id, kept from now on if there was none. Raises ConfigError: what is kept is not one."""
    path = data_dir / _ID_FILE
    try:
        kept = path.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        try:
            make_folders(data_dir)
            write_durably(path, f"{fresh_id}\n".encode())
        except OSError as error:
            raise ConfigError(f"the node's id cannot be kept in {data_dir}: {error.strerror}") from error
        return fresh_id
    if not _NODE_ID.fullmatch(kept):
        raise ConfigError(
            f"{path} holds {kept[:80]!r}, which is not a node id: delete it, or set node.node_id"
        )
    return kept


def _last_incarnation(path: Path) -> int:
    try:
        return int(path.read_text("ascii"))
    except (FileNotFoundError, ValueError):  # never started, or damaged: the clock alone decides
        return 0
