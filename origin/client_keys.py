"""The client keys as this origin last read them, for its own gate, and their digest, by which nodes know of news."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from registry.digest import digest_of
from registry.trust.statements import CLIENT_KEYS_ROLE, Contents
from registry.works import problem_of

if TYPE_CHECKING:
    from origin.kept_keys import KeptKeys
    from origin.releases import Releases
    from registry.trust.signed_store import SignedStore

log = structlog.get_logger()

FILE_SUFFIX = f".{CLIENT_KEYS_ROLE}.json"
_FIRST_LOOK_S = 0.1
"""How soon to look again while nothing was read yet: until then a fresh origin can let nobody in."""


class ClientKeys:
    """Follows what `Releases` reads.

    Args:
        store: the signed store that is read.
        releases: reads it, over and over.
        kept: where the list goes; None where this origin asks for no keys.
        refresh_s: how often to look.
    """

    def __init__(
        self, store: SignedStore, releases: Releases, kept: KeptKeys | None, *, refresh_s: float
    ) -> None:
        self.sha256 = ""
        self._store = store
        self._releases = releases
        self._kept = kept
        self._refresh_s = refresh_s
        self._problem = ""
        self._has_read = False

    async def keep_fresh(self) -> None:
        """Look for ever."""
        while True:
            problem = await problem_of("client keys", self.look)
            if problem:
                self._note(problem)
            await asyncio.sleep(self._refresh_s if self._has_read else min(_FIRST_LOOK_S, self._refresh_s))

    async def look(self) -> None:
        """Take in what is known now, if it was read lately; what was known before stands otherwise.

        Raises:
            TrustError: what the role says is refused.
        """
        verified = self._store.reader.known
        if verified is None or self._releases.problem:
            return
        self._has_read = True
        if CLIENT_KEYS_ROLE in verified.problems:
            raise verified.problems[CLIENT_KEYS_ROLE]
        contents = verified.contents.get(CLIENT_KEYS_ROLE, Contents())
        data = verified.role_file(CLIENT_KEYS_ROLE)
        self.sha256 = "" if data is None else digest_of(data)
        if self._kept is not None:
            await self._kept.take(contents.client_keys)
        self._note("")

    def _note(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("client_keys.refused", reason=problem)
        self._problem = problem
