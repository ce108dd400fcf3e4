"""Readers: the conversation of `verification` held with an object store, or with anything that gives files by name."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from registry.errors import (
    ObjectMissingError,
    StoreError,
    StoreUnavailableError,
    TrustEndlessError,
    TrustMissingError,
    TrustUnsignedError,
)
from registry.layout import trust_key
from registry.store import StoredObject
from registry.trust.changes import yanked
from registry.trust.statements import role_of
from registry.trust.verification import (
    LONG_AGO,
    TIMESTAMP_LIMIT_BYTES,
    Verified,
    advance,
    verifying,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from registry.digest import Digest
    from registry.store import ObjectStore
    from registry.trust.kept import Keeping
    from registry.trust.statements import SignedRelease
    from registry.trust.verification import Kept

_TIMESTAMP = "timestamp.json"
_READS_LIMIT_COUNT = 8


class StoreReader:
    """What the signed metadata in a store say. Blocks; safe from several threads, which take turns.

    Expired metadata are read too, since listing and publishing go on with them; `Verified.expires_unix_s` tells.
    Whoever installs uses a `RemoteReader`, which refuses them.

    Args:
        store: where the files lie.
        pin: the root that is trusted to begin with.
        kept: what was verified before.
        now_unix_s: the wall clock.
    """

    def __init__(
        self, store: ObjectStore, pin: bytes, kept: Keeping, *, now_unix_s: Callable[[], float]
    ) -> None:
        self.store = store
        self.pin = pin
        self.kept = kept
        self.now_unix_s = now_unix_s
        self._turn = threading.RLock()
        self._last: tuple[str, Verified] | None = None

    @property
    def known(self) -> Verified | None:
        """What was read last; None before the first time."""
        return None if self._last is None else self._last[1]

    def read(self) -> tuple[Verified | None, str | None]:
        """What is true now, and the etag of the timestamp that says so; None twice before the first publish.

        Raises:
            TrustError: what is there is refused.
            StoreError: the store failed.
        """
        with self._turn:
            info = self.store.head(trust_key(_TIMESTAMP))
            if info is not None and self._is_known(info.etag):
                assert self._last is not None
                return self._last[1], info.etag
            with self.kept.turn() as files:
                if info is None and _TIMESTAMP not in files:
                    return None, None
                etag: str | None = None
                steps = verifying(files, self.pin, at=LONG_AGO)
                data: bytes | None
                wanted = advance(steps, None)
                while not isinstance(wanted, Verified):
                    if wanted.file == _TIMESTAMP:
                        stored = self._timestamp()
                        if stored is None:
                            raise TrustMissingError(
                                f"{_TIMESTAMP} is not there, and was before: it is kept back, or the store was "
                                f"emptied; if that was on purpose, delete what is remembered of it in {self.kept.place}"
                            )
                        etag, data = stored.etag, stored.data
                    else:
                        data = read_bounded(self.store, trust_key(wanted.file), wanted.limit_bytes)
                    wanted = advance(steps, data)
            assert etag is not None  # without a timestamp nothing is verified
            # A role whose word could not be taken may be mended without a new timestamp.
            self._last = ("" if wanted.problems else etag, wanted)
            return wanted, etag

    def _is_known(self, etag: str) -> bool:
        """Whether what was read last still stands: the same timestamp, and no newer root."""
        if self._last is None or self._last[0] != etag:
            return False
        next_root = f"{self._last[1].root.version + 1}.root.json"
        return self.store.head(trust_key(next_root)) is None

    def learn(self, files: Kept) -> None:
        """Keep files that were just written, so that the next reading need not fetch them; they are verified then."""
        with self._turn, self.kept.turn() as kept:
            kept.update(files)

    def over(self, store: ObjectStore) -> StoreReader:
        """The same reader, reaching the same objects through another store, such as one that counts."""
        return StoreReader(store, self.pin, self.kept, now_unix_s=self.now_unix_s)

    def _timestamp(self) -> StoredObject | None:
        """The one file that changes: its bytes and its etag, of the same moment."""
        key = trust_key(_TIMESTAMP)
        for _ in range(_READS_LIMIT_COUNT):
            before = self.store.head(key)
            if before is None:
                return None
            if before.length_bytes > TIMESTAMP_LIMIT_BYTES:
                raise TrustEndlessError(
                    f"{_TIMESTAMP} has {before.length_bytes} bytes; it has at most {TIMESTAMP_LIMIT_BYTES}"
                )
            try:
                data = self.store.get_range(key, 0, before.length_bytes)
            except StoreUnavailableError:
                raise
            except StoreError:
                data = b""  # it may just have become shorter
            after = self.store.head(key)
            if data and after is not None and after.etag == before.etag:
                return StoredObject(data, before.etag)
        raise StoreError(f"{_TIMESTAMP} was changed {_READS_LIMIT_COUNT} times while it was read; try again")


class RemoteReader:
    """What the signed metadata say that come from somewhere, for whoever installs: nothing expired is believed.

    Args:
        get: gives a file's bytes, None where there is no such file; may be anybody.
        pin: the root that is trusted to begin with.
        kept: what was verified before.
        now_unix_s: the wall clock.
    """

    def __init__(
        self,
        get: Callable[[str, int], Awaitable[bytes | None]],
        pin: bytes,
        kept: Keeping,
        *,
        now_unix_s: Callable[[], float],
    ) -> None:
        self._get = get
        self._pin = pin
        self._kept = kept
        self._now_unix_s = now_unix_s
        self._turn = asyncio.Lock()

    async def read(
        self, names: frozenset[str] | None = None, *, roles: frozenset[str] = frozenset()
    ) -> Verified:
        """What is true now, as far as these models go, None is all of them, and these roles besides.

        Raises:
            TrustError: what came is refused.
            EdgewardError: what `get` raises.
        """
        wanted_roles = None if names is None else {role_of(name) for name in names} | roles
        at = datetime.fromtimestamp(self._now_unix_s(), UTC)
        async with self._turn:
            files = await asyncio.to_thread(self._kept.load)
            try:
                steps = verifying(files, self._pin, at=at, roles=wanted_roles)
                wanted = await asyncio.to_thread(advance, steps, None)
                while not isinstance(wanted, Verified):
                    data = await self._get(wanted.file, wanted.limit_bytes)
                    wanted = await asyncio.to_thread(advance, steps, data)
            finally:
                await asyncio.to_thread(self._kept.save, files)
        return wanted


def require_signed(
    verified: Verified, name: str, version: str, sha256: Digest | str, *, channel: str | None = None
) -> SignedRelease:
    """The statement that vouches for a manifest.

    Args:
        verified: what is true.
        name: of the model.
        version: of the release.
        sha256: the digest that somebody claims.
        channel: must point at this release now; None does not matter.

    Raises:
        TrustUnsignedError: nothing vouches for it, or the channel points elsewhere.
        ReleaseYankedError: it was withdrawn.
        TrustError: the word of the role that speaks for this model cannot be taken.
    """
    contents = verified.contents_for(role_of(name))
    release = contents.releases.get((name, version))
    if release is None or release.sha256 != sha256:
        raise TrustUnsignedError(
            f"no signature vouches for {name}@{version} with the manifest {sha256[:12]}…; "
            "the origin or the store says something that no publisher said"
        )
    if release.yanked:
        raise yanked(name, version)
    if channel is not None:
        pointed = contents.channels.get(name, {}).get(channel, ("nothing",))[0]
        if pointed != version:
            raise TrustUnsignedError(
                f"the signed channel {name}:{channel} points at {pointed} and not at {version}; "
                "the origin has not seen it yet, or says something that no publisher said"
            )
    return release


def read_bounded(store: ObjectStore, key: str, limit_bytes: int) -> bytes | None:
    """An immutable object of at most so many bytes; None when there is none.

    Raises:
        TrustEndlessError: it is longer.
    """
    info = store.head(key)
    if info is None:
        return None
    if info.length_bytes > limit_bytes:
        raise TrustEndlessError(f"{key} has {info.length_bytes} bytes and may have {limit_bytes}")
    try:
        return store.get_range(key, 0, info.length_bytes) if info.length_bytes else b""
    except ObjectMissingError:
        return None
