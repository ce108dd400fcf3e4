"""The node's list of client keys: fetched when the origin tells of a new one, verified, kept, and used without it.

A list that was verified is good until a newer one is: with the origin away, or with a signature past its date, keys go
on being checked by the last one, and `status` says how old it is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from edge_node.api.health import ClientKeysStatus
from origin.gate import Gate
from origin.kept_keys import KeptKeys
from registry.errors import EdgewardError
from registry.works import first_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edge_node.config import NodeConfig
    from edge_node.supervisor import Clock
    from registry.client_keys import ClientKey

log = structlog.get_logger()

REFRESH_S = 60.0
_RETRY_S = 5.0


class Verifying(Protocol):
    """Where the list comes from (`edge_node.trust.NodeTrust`)."""

    async def client_keys(self) -> tuple[Mapping[str, ClientKey], str]:
        """The keys by id, and the sha256 of the signed list; raises EdgewardError."""


class NodeKeys:
    """The gate of a node, and what it knows.

    Args:
        trust: fetches and verifies the list.
        data_dir: the node's own directory; the list is kept there.
        max_age_s: how old the list may be before nobody is let in; 0 is any age.
        clock: for pauses.
        now_unix_s: the wall clock.
    """

    def __init__(
        self,
        trust: Verifying,
        data_dir: Path,
        *,
        max_age_s: float,
        clock: Clock,
        now_unix_s: Callable[[], float],
    ) -> None:
        self.gate = Gate(max_age_s=max_age_s)
        self._trust = trust
        self._kept = KeptKeys(data_dir, self.gate, now_unix_s)
        self._clock = clock
        self._now_unix_s = now_unix_s
        self._told = ""
        self._read = ""
        self._problem = ""
        self._news = asyncio.Event()

    def restore(self) -> None:
        """Know what was kept; reads a file."""
        self._kept.restore()

    def heard(self, sha256: str) -> None:
        """Look at once if the origin tells of another list than before; "" tells nothing."""
        if sha256 and sha256 != self._told:
            self._told = sha256
            if sha256 != self._read:
                self._news.set()

    async def keep_fresh(self) -> None:
        """Look for ever: at news, every minute without, and sooner after a failure."""
        while True:
            self._news.clear()
            await self.look()
            pause_s = _RETRY_S if self._problem else REFRESH_S
            await first_of(self._news, self._clock.sleep(pause_s))

    async def look(self) -> None:
        """Fetch and verify the list now; a failure is in `status`."""
        try:
            keys, self._read = await self._trust.client_keys()
            await self._kept.take(keys)
        except EdgewardError as error:
            self._note(error.message)
        except OSError as error:  # what was read counts, though it could not be kept
            self._note(f"the list of client keys cannot be kept: {error}")
        else:
            self._note("")

    def status(self) -> ClientKeysStatus:
        """How things stand, for `/readyz`."""
        now_unix_s = self._now_unix_s()
        refused = self.gate.problem(now_unix_s)
        return ClientKeysStatus(
            checked=not refused,
            keys_count=len(self.gate.keys),
            age_s=self.gate.age_s(now_unix_s),
            problem=refused or self._problem,
        )

    def _note(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("client_keys.refresh_failed", reason=problem)
        self._problem = problem


def keys_of(
    config: NodeConfig, trust: Verifying, clock: Clock, now_unix_s: Callable[[], float]
) -> NodeKeys | None:
    """What a node of these settings asks for, as it was kept; None where everybody is let in. Reads a file."""
    if not config.require_keys:
        return None
    keys = NodeKeys(
        trust, config.data_dir, max_age_s=config.max_key_age_s, clock=clock, now_unix_s=now_unix_s
    )
    keys.restore()
    return keys
