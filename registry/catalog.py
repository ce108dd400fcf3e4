"""Catalog: which releases the store has, what they contain, and where the channels point."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from registry import wire
from registry.errors import (
    InputInvalidError,
    ManifestInvalidError,
    ObjectMissingError,
    PreconditionFailedError,
    ReleaseUnknownError,
    StoreError,
)
from registry.layout import MANIFESTS, channels_key, manifest_key, parse_manifest_key
from registry.manifest import Manifest, decode_manifest
from registry.reference import Reference, check_channel, check_name, check_version, parse_reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.store import ObjectStore

_SCHEMA = 1
_MOVE_LIMIT_COUNT = 16
_HISTORY_LIMIT_COUNT = 32


@dataclass(frozen=True, slots=True, order=True)
class ReleaseId:
    """One version of one model."""

    name: str
    version: str

    def __str__(self) -> str:
        """The form that `parse_reference` reads."""
        return f"{self.name}@{self.version}"


class _Channels(Struct, frozen=True):
    """Each channel's versions, each once: the one that it points at, then where it pointed before, latest first."""

    schema: Annotated[int, Meta(ge=_SCHEMA, le=_SCHEMA)]
    channels: dict[str, Annotated[list[str], Meta(min_length=1, max_length=_HISTORY_LIMIT_COUNT)]]


class Catalog:
    """Reads releases and channels, and moves channels. Keeps nothing: every call asks the store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def releases(self) -> tuple[ReleaseId, ...]:
        """Every release, by name and version. Keys that name no release are passed over."""
        found = []
        for info in self._store.list(MANIFESTS):
            parsed = parse_manifest_key(info.key)
            if parsed is not None and _is_release(*parsed):
                found.append(ReleaseId(*parsed))
        return tuple(sorted(found))

    def names(self) -> tuple[str, ...]:
        """Every model that has a release."""
        return tuple(sorted({release.name for release in self.releases()}))

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of one model, by text; empty when it is unknown."""
        prefix = f"{MANIFESTS}{check_name(name)}/"
        parsed = [parse_manifest_key(info.key) for info in self._store.list(prefix)]
        return tuple(
            sorted(item[1] for item in parsed if item is not None and item[0] == name and _is_release(*item))
        )

    def manifest(self, name: str, version: str) -> tuple[bytes, Manifest]:
        """A release's manifest, as it is stored and read.

        Raises:
            ReleaseUnknownError: no such release.
            ManifestInvalidError: what is stored is not the manifest of this release.
        """
        try:
            data = self._store.get(manifest_key(name, version)).data
        except ObjectMissingError as error:
            raise self._unknown_version(name, version) from error
        manifest = decode_manifest(data)
        if (manifest.name, manifest.version) != (name, version):
            raise ManifestInvalidError(
                f"the manifest stored for {name}@{version} says it is {manifest.name}@{manifest.version}"
            )
        return data, manifest

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
            if self._store.head(manifest_key(name, version)) is None:
                raise self._unknown_version(name, version)
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
        return {channel: versions[0] for channel, versions in self._channels(name)[0].items()}

    def move_channel(self, name: str, channel: str, version: str, *, only_new: bool = False) -> bool:
        """Make a channel point at a version; False when nothing had to be, or may be, moved.

        `only_new` leaves the channel alone if it has pointed at this version before: what was replaced or rolled
        back must not come back because somebody publishes it again.

        Raises:
            ReleaseUnknownError: there is no such version.
            StoreError: others kept changing the channels of this model.
        """
        check_channel(channel)
        if self._store.head(manifest_key(name, version)) is None:
            raise self._unknown_version(name, version)

        def move(before: list[str]) -> str | None:
            here = before[:1] == [version]
            return None if here or (only_new and version in before) else version

        return self._change(name, channel, move) is not None

    def roll_back(self, name: str, channel: str) -> str:
        """Make a channel point at what it pointed at before; twice brings it back. Returns the version.

        Raises:
            ReleaseUnknownError: the channel has never pointed at another version.
            StoreError: others kept changing the channels of this model.
        """
        check_channel(channel)

        def move(before: list[str]) -> str:
            if len(before) < 2:
                raise ReleaseUnknownError(
                    f"{name}:{channel} has no earlier version to go back to; "
                    f"`edgeward promote {name}@VERSION --channel {channel}` points it at any version"
                )
            return before[1]

        moved = self._change(name, channel, move)
        assert moved is not None  # this `move` always names a version
        return moved

    def _change(self, name: str, channel: str, move: Callable[[list[str]], str | None]) -> str | None:
        """Let `move` say from a channel's versions where it should point; None leaves it where it is."""
        for _ in range(_MOVE_LIMIT_COUNT):
            channels, etag = self._channels(name)
            before = channels.get(channel, [])
            version = move(before)
            if version is None:
                return None
            after = [version, *(other for other in before if other != version)][:_HISTORY_LIMIT_COUNT]
            changed = dict(sorted({**channels, channel: after}.items()))
            try:
                self._store.put_if_match(
                    channels_key(name), wire.to_msgpack(_Channels(_SCHEMA, changed)), etag
                )
            except PreconditionFailedError:
                continue
            return version
        raise StoreError(
            f"the channels of {name} were changed by others {_MOVE_LIMIT_COUNT} times; try again"
        )

    def _channels(self, name: str) -> tuple[dict[str, list[str]], str | None]:
        try:
            stored = self._store.get(channels_key(name))
        except ObjectMissingError:
            return {}, None
        try:
            channels = wire.from_msgpack(stored.data, _Channels).channels
            for channel, versions in channels.items():
                check_channel(channel)
                for version in versions:
                    check_version(version)
        except InputInvalidError as error:
            raise StoreError(f"the stored channels of {name} cannot be read: {error.message}") from error
        return channels, stored.etag

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


def _is_release(name: str, version: str) -> bool:
    try:
        check_name(name)
        check_version(version)
    except InputInvalidError:
        return False
    return True
