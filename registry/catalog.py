"""Catalog: which releases a store truly has, what they contain, and where channels point, as publishers signed it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import (
    ManifestInvalidError,
    ReleaseUnknownError,
    TrustError,
    TrustMissingError,
    TrustTamperedError,
)
from registry.layout import manifest_key
from registry.manifest import MANIFEST_LIMIT_BYTES, Manifest, decode_manifest, stored_limit_bytes
from registry.reference import Reference, check_channel, check_name, check_version, parse_reference
from registry.store.rewriting import write_again
from registry.trust import changes
from registry.trust.reader import read_bounded
from registry.trust.statements import Contents, role_of, statement_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.trust.signed_store import SignedStore
    from registry.trust.statements import Channels, SignedRelease
    from registry.trust.verification import Verified


@dataclass(frozen=True, slots=True, order=True)
class ReleaseId:
    """One version of one model."""

    name: str
    version: str

    def __str__(self) -> str:
        """The form that `parse_reference` reads."""
        return f"{self.name}@{self.version}"


class Catalog:
    """Reads releases and channels, and changes what is signed of them. Every call asks the store, but for `frozen`.

    What was yanked is in none of the lists. Any reading may raise TrustError, for signed metadata that are refused.
    """

    def __init__(self, store: SignedStore) -> None:
        self._store = store
        self._frozen: Verified | None = None

    def frozen(self) -> Catalog:
        """The catalog as it is now, for many readings that should agree: it asks once what is signed."""
        catalog = Catalog(self._store)
        catalog._frozen = self._now()
        return catalog

    def releases(self) -> tuple[ReleaseId, ...]:
        """Every release, by name and version."""
        return tuple(sorted(ReleaseId(*key) for key, said in self._signed().items() if not said.yanked))

    def names(self) -> tuple[str, ...]:
        """Every model that has a release."""
        return tuple(sorted({release.name for release in self.releases()}))

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of one model, by text; empty when it is unknown."""
        check_name(name)
        return tuple(release.version for release in self.releases() if release.name == name)

    def manifest(self, name: str, version: str) -> tuple[bytes, Manifest]:
        """A release's manifest, as it is stored and read.

        Raises:
            ReleaseUnknownError: no such release.
            ReleaseYankedError: it was withdrawn.
            TrustError: what is stored is not what was signed.
            ManifestInvalidError: what was signed is not the manifest of this release.
        """
        said = self.statement(name, version)
        data = read_bounded(
            self._store,
            manifest_key(name, version, said.sha256),
            min(stored_limit_bytes(said.length_bytes), MANIFEST_LIMIT_BYTES),
        )
        if data is None:
            raise TrustMissingError(f"{name}@{version} is signed, and its manifest is not in the store")
        if not _is_signed(data, said):
            raise TrustTamperedError(
                f"the manifest stored for {name}@{version} is not the one that was signed"
            )
        manifest = decode_manifest(data)
        if (manifest.name, manifest.version) != (name, version):
            raise ManifestInvalidError(
                f"the manifest stored for {name}@{version} says it is {manifest.name}@{manifest.version}"
            )
        return data, manifest

    def statement(self, name: str, version: str) -> SignedRelease:
        """What was signed of a release's manifest.

        Raises:
            ReleaseUnknownError: no such release.
            ReleaseYankedError: it was withdrawn.
        """
        check_name(name)
        said = self._signed().get((name, check_version(version)))
        if said is None:
            raise self._unknown_version(name, version)
        if said.yanked:
            raise changes.yanked(name, version)
        return said

    def resolve(self, reference: Reference | str) -> tuple[str, str]:
        """The name and version that a reference means now.

        Raises:
            InputInvalidError: a text that is no reference.
            ReleaseUnknownError: no such release, or no such channel.
        """
        if isinstance(reference, str):
            reference = parse_reference(reference)
        name, version = reference.name, reference.version
        if version is not None:
            self.statement(name, version)
            return name, version
        channels = self.channels(name)
        target = channels.get(reference.channel or "")
        if target is None:
            if not channels and not self.versions(name):
                raise self._unknown_name(name)
            known = ", ".join(sorted(channels)) or "none yet"
            raise ReleaseUnknownError(f"{name} has no channel {reference.channel!r}; it has: {known}")
        return name, target

    def channels(self, name: str) -> dict[str, str]:
        """Which version each channel of a model points at; empty when it has none."""
        check_name(name)
        return {channel: versions[0] for channel, versions in self._channels().get(name, {}).items()}

    def all_channels(self) -> dict[str, dict[str, str]]:
        """The same for every model that has channels."""
        return {
            name: {channel: versions[0] for channel, versions in pointers.items()}
            for name, pointers in sorted(self._channels().items())
        }

    def within_reach(self) -> dict[str, set[str]]:
        """For every model the versions that its channels point at, or would after one rollback."""
        said = Contents(self._signed(), self._channels())
        return {
            name: {
                version
                for channel, versions in pointers.items()
                for version in (versions[0], changes.roll_back_target(said, name, channel))
                if version is not None
            }
            for name, pointers in self._channels().items()
        }

    def problems(self) -> dict[str, TrustError]:
        """Why the word of some publishers' roles cannot be taken; what they said is missing from all lists."""
        verified = self._now()
        return dict(verified.problems) if verified is not None else {}

    def add(
        self,
        name: str,
        version: str,
        said: SignedRelease,
        *,
        channel: str | None = None,
        only_new: bool = False,
    ) -> bool:
        """Sign that a release exists, and point a channel at it, in one step; whether the channel was moved.

        The manifest that `said` is the statement of must be in the store. `only_new` as in `move_channel`.

        Raises:
            ReleaseConflictError: this version exists already, with another manifest.
            ReleaseYankedError: this version was withdrawn.
            KeyUnusableError: the keys to sign with are not here.
            StoreError: others kept signing.
        """
        moved = False

        def change(contents: Contents) -> Contents | None:
            nonlocal moved
            added = changes.add_release(contents, name, version, said)
            pointed = (
                changes.move_channel(added or contents, name, channel, version, only_new=only_new)
                if channel is not None
                else None
            )
            moved = pointed is not None
            return pointed or added

        self._store.publisher.change(role_of(name), change)
        return moved

    def move_channel(self, name: str, channel: str, version: str, *, only_new: bool = False) -> bool:
        """Make a channel point at a version; False when nothing had to be, or may be, moved.

        `only_new` leaves the channel alone if it has pointed at this version before: what was replaced or rolled
        back must not come back because somebody publishes it again.

        Raises:
            ReleaseUnknownError: there is no such version.
            ReleaseYankedError: it was withdrawn.
            KeyUnusableError: the keys to sign with are not here.
            StoreError: others kept signing.
        """
        check_channel(channel)
        self.statement(name, version)
        return self._store.publisher.change(
            role_of(name),
            lambda contents: changes.move_channel(contents, name, channel, version, only_new=only_new),
        )

    def roll_back(self, name: str, channel: str) -> str:
        """Make a channel point at what it pointed at before; twice brings it back. Returns the version.

        Raises:
            ReleaseUnknownError: the channel has never pointed at another version that still stands.
            KeyUnusableError: the keys to sign with are not here.
            StoreError: others kept signing.
        """
        check_channel(channel)
        versions: tuple[str, ...] = ()

        def change(contents: Contents) -> Contents:
            nonlocal versions
            changed = changes.roll_back(contents, name, channel)
            versions = changed.channels[name][channel]
            return changed

        if name not in self.names():
            raise self._unknown_name(check_name(name))
        self._store.publisher.change(role_of(name), change)
        return versions[0]

    def statements(self) -> Mapping[tuple[str, str], SignedRelease]:
        """What was signed of every release, of those that were withdrawn as well.

        Raises:
            TrustMissingError: nothing was ever signed here.
            TrustError: the word of a publisher's role cannot be taken, so nobody knows whether this is all.
        """
        verified = self._now()
        if verified is None:
            raise TrustMissingError("nothing is signed in this store yet")
        for problem in verified.problems.values():
            raise problem
        return verified.releases()

    def yank(self, name: str, version: str, *, unless_within_reach: bool = False) -> bool:
        """Withdraw a release; False when it was already. Channels that point at it go back.

        Its bytes stay for the grace period of the garbage collection, which begins now.

        Args:
            name: of the model.
            version: of the release.
            unless_within_reach: leave a release alone that a channel points at, or would after a rollback.

        Raises:
            ReleaseUnknownError: there is no such version.
            KeyUnusableError: the keys to sign with are not here.
            StoreError: others kept signing.
        """
        said = self._signed().get((name, version))
        if said is None:
            raise self._unknown_version(check_name(name), check_version(version))
        if not said.yanked:
            self._store.publisher.require(role_of(name))
            write_again(self._store, manifest_key(name, version, said.sha256))
        return self._store.publisher.change(
            role_of(name),
            lambda contents: (
                None
                if unless_within_reach and changes.is_within_reach(contents, name, version)
                else changes.yank(contents, name, version)
            ),
        )

    def _signed(self) -> Mapping[tuple[str, str], SignedRelease]:
        verified = self._now()
        return verified.releases() if verified is not None else {}

    def _channels(self) -> Mapping[str, Channels]:
        verified = self._now()
        return verified.channels() if verified is not None else {}

    def _now(self) -> Verified | None:
        return self._frozen if self._frozen is not None else self._store.reader.read()[0]

    def _unknown_version(self, name: str, version: str) -> ReleaseUnknownError:
        versions = self.versions(name)
        if not versions:
            return self._unknown_name(name)
        near = difflib.get_close_matches(version, versions, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(versions[-10:])}"
        return ReleaseUnknownError(f"{name} has no version {version}; {hint}")

    def _unknown_name(self, name: str) -> ReleaseUnknownError:
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names[:10]) or 'none yet'}"
        return ReleaseUnknownError(f"there is no model {name}; {hint}")


def _is_signed(manifest_bytes: bytes, said: SignedRelease) -> bool:
    try:
        found = statement_of(manifest_bytes)
    except ManifestInvalidError:
        return False
    return (found.sha256, found.length_bytes) == (said.sha256, said.length_bytes)
