"""The list of client keys on the disk of a node or an origin: what its gate knows first after a start without others.

The list was verified when it was read (`registry.trust`); whoever can write here owns this process anyway. It holds
hashes of secrets, and only this user may read it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from registry.client_keys import ClientKey
from registry.durable import write_durably
from registry.errors import EdgewardError
from registry.wire import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from origin.gate import Gate

log = structlog.get_logger()

_FILE = "client-keys.json"
_STAMP_S = 60.0
"""How much older than it is the list may seem after a start."""


class _Kept(Struct, frozen=True):
    read_unix_s: float
    keys: tuple[ClientKey, ...]


class KeptKeys:
    """Hands the list on to the gate, and keeps it.

    Args:
        data_dir: the process's own directory.
        gate: what lets requests in.
        now_unix_s: the wall clock.
    """

    def __init__(self, data_dir: Path, gate: Gate, now_unix_s: Callable[[], float]) -> None:
        self._path = data_dir / _FILE
        self._gate = gate
        self._now_unix_s = now_unix_s
        self._kept_unix_s: float | None = None

    def restore(self) -> None:
        """Tell the gate what was kept; a damaged list is as none, and nobody is let in until it is read again."""
        try:
            kept = from_json(self._path.read_bytes(), _Kept)
        except FileNotFoundError:
            return
        except (OSError, EdgewardError) as error:
            log.warning("client_keys.unreadable", path=str(self._path), reason=str(error))
            return
        self._gate.learn({key.key_id: key for key in kept.keys}, read_unix_s=kept.read_unix_s)
        self._kept_unix_s = kept.read_unix_s

    async def take(self, keys: Mapping[str, ClientKey]) -> None:
        """Take in the list as it was read and verified just now."""
        now_unix_s = self._now_unix_s()
        changed = dict(keys) != dict(self._gate.keys)
        self._gate.learn(keys, read_unix_s=now_unix_s)
        if changed:
            log.info("client_keys.changed", keys_count=len(keys))
        # The time alone is written now and then: it only says how old the list is.
        if changed or self._kept_unix_s is None or not 0 <= now_unix_s - self._kept_unix_s < _STAMP_S:
            data = to_json(_Kept(now_unix_s, tuple(keys.values())))
            await asyncio.to_thread(write_durably, self._path, data, mode=0o600)
            self._kept_unix_s = now_unix_s
