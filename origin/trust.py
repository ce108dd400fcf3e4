"""The signed metadata that this origin hands on: only what it has verified; renewed where it holds the key."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from origin.blocking import BlockingCalls
from registry.errors import ObjectMissingError, StoreUnavailableError
from registry.works import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.trust.signed_store import SignedStore
    from registry.trust.verification import Verified

log = structlog.get_logger()

_FILES_KEPT_COUNT = 256
_LOOK_S = 60.0


class TrustFiles:
    """Files of signed metadata by name, from what `Releases` read last.

    Args:
        store: what is read, with the online key if this origin renews.
        renews: whether it does.
        now_unix_s: the wall clock.
    """

    def __init__(self, store: SignedStore, *, renews: bool, now_unix_s: Callable[[], float]) -> None:
        self.renews = renews
        self.problem = ""
        self._store = store
        self._now_unix_s = now_unix_s
        self._calls = BlockingCalls(1)
        self._seen: Verified | None = None
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def expires_in_s(self) -> dict[str, float]:
        """How long each role's word is good, negative after that; empty before the first read.

        Nodes install by all of the first four (`root`, `timestamp`, `snapshot`, `targets`) and the model's own role.
        """
        known = self._store.reader.known
        now_s = self._now_unix_s()
        return {} if known is None else {role: at - now_s for role, at in known.expires_unix_s.items()}

    def file(self, name: str) -> bytes:
        """The bytes of a verified file, those of a while ago included: a node may be in the middle of reading.

        Raises:
            StoreUnavailableError: nothing was verified yet.
            ObjectMissingError: there is no such file.
        """
        known = self._store.reader.known
        if known is None:
            raise StoreUnavailableError(
                "this origin has not verified any signed metadata yet", retry_after_s=1.0
            )
        if known is not self._seen:
            self._seen = known
            for file, data in known.files.items():
                self._files[file] = data
                self._files.move_to_end(file)
            while len(self._files) > max(_FILES_KEPT_COUNT, len(known.files)):
                self._files.popitem(last=False)
        if name not in self._files:
            raise ObjectMissingError(f"there is no signed {name[:80]!r} here")
        return self._files[name]

    async def keep_renewed(self) -> None:
        """Renew snapshot and timestamp for ever, each when half of its time is over; returns at once without keys."""
        while self.renews:
            self._note(await problem_of("renewal", self._renew))
            await asyncio.sleep(_LOOK_S)

    async def _renew(self) -> None:
        # The publisher is looked up here, so that missing keys are a problem of this task alone.
        if await self._calls.run(self._store.publisher.renew):
            log.info("timestamp.renewed")

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("renewal.failed", problem=problem)
        self.problem = problem
