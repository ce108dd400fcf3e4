"""Trust: whether a release that the origin wants here is one that its publisher signed, before any byte is taken."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import structlog

from edge_node.api.health import TrustStatus
from registry.durable import write_durably
from registry.errors import EdgewardError, TrustError, TrustExpiredError, TrustRootMissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edge_node.api.health import TrustState
    from edge_node.supervisor import Clock
    from origin.api import WantedRelease
    from registry.client_keys import ClientKey
    from registry.trust.reader import RemoteReader
    from registry.trust.verification import Verified

log = structlog.get_logger()

REFRESH_S = 300.0
_RETRY_S = 10.0
_ROOT_FILE = "root.json"


class Admitting(Protocol):
    """Whoever says whether a release may be installed."""

    async def admit(self, wanted: WantedRelease) -> None:
        """Return when it may be; raise EdgewardError when not."""


class TrustSource(Protocol):
    """Where signed metadata come from (`origin.client.OriginClient`); needs no trust itself."""

    async def trust_file(self, file: str, limit_bytes: int) -> bytes | None:
        """A file; None when there is none."""


class NodeTrust:
    """What this node believes. What is installed goes on serving, whatever happens here.

    Args:
        source: the origin.
        data_dir: the node's own directory; what was verified is kept below it.
        trusted_root: the file of the first root; None takes `root.json` in `data_dir`.
        takes_first_root: with no such file, take the root that the origin shows first, for good.
        channel: the channel that this node follows.
        clock: for ages and pauses.
        now_unix_s: the wall clock, for expiry.
    """

    def __init__(
        self,
        *,
        source: TrustSource,
        data_dir: Path,
        trusted_root: Path | None,
        takes_first_root: bool,
        channel: str,
        clock: Clock,
        now_unix_s: Callable[[], float],
    ) -> None:
        self._source = source
        self._data_dir = data_dir
        self._root_path = trusted_root or data_dir / _ROOT_FILE
        self._takes_first_root = takes_first_root and trusted_root is None
        self._channel = channel
        self._clock = clock
        self._now_unix_s = now_unix_s
        self._reader: RemoteReader | None = None
        self._opening = asyncio.Lock()  # a second reader would write over what the first one keeps
        self._read_at_s: float | None = None
        self._expires_unix_s: float | None = None
        self._problem: EdgewardError | None = None

    async def admit(self, wanted: WantedRelease) -> None:
        """Return if the publisher signed this release, and that this node's channel points at it now.

        Raises:
            TrustRootMissingError: this node was given no root to trust.
            TrustError: no valid signature says so; its class says why.
            ReleaseYankedError: it was withdrawn.
            EdgewardError: what the origin answered.
        """
        verified = await self._read(frozenset({wanted.name}))
        from registry.trust.reader import require_signed  # noqa: PLC0415  # see `_opened`

        require_signed(verified, wanted.name, wanted.version, wanted.manifest_sha256, channel=self._channel)

    async def client_keys(self) -> tuple[Mapping[str, ClientKey], str]:
        """The client keys by id, as they are signed now, and the sha256 of their list; none and "" before the first.

        Raises:
            TrustError: no valid signature says so; its class says why.
            EdgewardError: what the origin answered.
        """
        from registry.digest import digest_of  # noqa: PLC0415
        from registry.trust.statements import CLIENT_KEYS_ROLE, Contents  # noqa: PLC0415  # see `_opened`

        verified = await self._read(frozenset(), roles=frozenset({CLIENT_KEYS_ROLE}))
        if CLIENT_KEYS_ROLE in verified.problems:
            raise verified.problems[CLIENT_KEYS_ROLE]
        contents = verified.contents.get(CLIENT_KEYS_ROLE, Contents())
        data = verified.role_file(CLIENT_KEYS_ROLE)
        return contents.client_keys, "" if data is None else digest_of(data)

    async def keep_fresh(self) -> None:
        """Look for ever, so that this node knows in time when signatures are about to expire."""
        while True:
            with suppress(EdgewardError):  # it is in `status`, and was logged
                await self._read(frozenset())
            await self._clock.sleep(_RETRY_S if self._problem is not None else REFRESH_S)

    def status(self) -> TrustStatus:
        """How things stand, for `/readyz`."""
        expires_in_s = None if self._expires_unix_s is None else self._expires_unix_s - self._now_unix_s()
        return TrustStatus(
            state=self._state(expires_in_s),
            age_s=None if self._read_at_s is None else self._clock.now_s() - self._read_at_s,
            expires_in_s=expires_in_s,
            problem=self._problem.message if self._problem is not None else "",
        )

    def _state(self, expires_in_s: float | None) -> TrustState:
        if isinstance(self._problem, TrustRootMissingError):
            return "no_root"
        if isinstance(self._problem, TrustExpiredError) or (expires_in_s is not None and expires_in_s < 0):
            return "expired"
        if isinstance(self._problem, TrustError):
            return "refused"
        return "unknown" if self._read_at_s is None else "verified"

    async def _read(self, names: frozenset[str], *, roles: frozenset[str] = frozenset()) -> Verified:
        try:
            reader = await self._opened()
            verified = await reader.read(names, roles=roles)
        except EdgewardError as error:
            if self._problem is None or self._problem.message != error.message:
                log.warning("trust.refused", code=error.code, reason=error.message)
            self._problem = error
            raise
        self._problem = None
        self._read_at_s = self._clock.now_s()
        self._expires_unix_s = verified.first_expiry_unix_s
        return verified

    async def _opened(self) -> RemoteReader:
        async with self._opening:
            if self._reader is None:
                self._reader = await self._open()
            return self._reader

    async def _open(self) -> RemoteReader:
        # Imported when first needed: what signs and verifies imports boto3 where that is installed.
        from registry.trust.kept import KeptInDirectory  # noqa: PLC0415
        from registry.trust.reader import RemoteReader  # noqa: PLC0415
        from registry.trust.signed_store import read_pin  # noqa: PLC0415

        try:
            pin = await asyncio.to_thread(read_pin, self._root_path)
        except TrustRootMissingError as error:
            if not self._takes_first_root:
                raise TrustRootMissingError(
                    f"this node installs nothing: it has no trusted root at {self._root_path}. Copy root.json from "
                    "where models are published (`edgeward keys show`), or name it in node.trusted_root"
                ) from error
            pin = await self._first_root()
        return RemoteReader(
            self._source.trust_file,
            pin,
            KeptInDirectory(self._data_dir / "trust", pin),
            now_unix_s=self._now_unix_s,
        )

    async def _first_root(self) -> bytes:
        from registry.digest import digest_of  # noqa: PLC0415
        from registry.trust.verification import ROOT_LIMIT_BYTES, check_root  # noqa: PLC0415

        pin = await self._source.trust_file("1.root.json", ROOT_LIMIT_BYTES)
        if pin is None:
            raise TrustRootMissingError("the origin has no root of trust to show yet: nothing was published")
        check_root(pin)
        await asyncio.to_thread(write_durably, self._root_path, pin)
        log.warning("root.taken_unseen", root_sha256=digest_of(pin), path=str(self._root_path))
        return pin
