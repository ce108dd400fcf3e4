"""What publishers may do to a role's contents: pure functions; None means that there is nothing to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from registry.errors import ReleaseConflictError, ReleaseUnknownError, ReleaseYankedError
from registry.trust.statements import HISTORY_LIMIT_COUNT, Contents

if TYPE_CHECKING:
    from registry.trust.statements import Channels, SignedRelease


def add_release(contents: Contents, name: str, version: str, release: SignedRelease) -> Contents | None:
    """Say that a release exists.

    Raises:
        ReleaseConflictError: this version exists, with another manifest.
        ReleaseYankedError: it was withdrawn.
    """
    known = contents.releases.get((name, version))
    if known is None:
        return replace(contents, releases={**contents.releases, (name, version): release})
    if known.yanked:
        raise yanked(name, version)
    if known != release:
        raise ReleaseConflictError(
            f"{name}@{version} is published already, with other files; a version never changes: choose a new one"
        )
    return None


def move_channel(
    contents: Contents, name: str, channel: str, version: str, *, only_new: bool = False
) -> Contents | None:
    """Point a channel at a release; `only_new` leaves it if it has pointed there before.

    Raises:
        ReleaseYankedError: the release was withdrawn.
    """
    known = contents.releases.get((name, version))
    if known is not None and known.yanked:
        raise yanked(name, version)
    pointers = contents.channels.get(name, {})
    before = pointers.get(channel, ())
    if before[:1] == (version,) or (only_new and version in before):
        return None
    return _pointing(contents, name, {**pointers, channel: _first(version, before)})


def roll_back_target(contents: Contents, name: str, channel: str) -> str | None:
    """Where a rollback would point a channel: the last other release that still stands."""
    before = contents.channels.get(name, {}).get(channel, ())
    return next((version for version in before[1:] if _stands(contents, name, version)), None)


def roll_back(contents: Contents, name: str, channel: str) -> Contents:
    """Point a channel at what it pointed at before; twice brings it back.

    Raises:
        ReleaseUnknownError: it has never pointed at another release that still stands.
    """
    pointers = contents.channels.get(name, {})
    before = pointers.get(channel, ())
    target = roll_back_target(contents, name, channel)
    if target is None:
        raise ReleaseUnknownError(
            f"{name}:{channel} has no earlier version to go back to; "
            f"`edgeward promote {name}@VERSION --channel {channel}` points it at any version"
        )
    return _pointing(contents, name, {**pointers, channel: _first(target, before)})


def yank(contents: Contents, name: str, version: str) -> Contents | None:
    """Withdraw a release: every channel that points at it goes back, or ends where it has nowhere to go."""
    release = contents.releases[name, version]
    if release.yanked:
        return None
    pointers = {
        channel: rest
        for channel, versions in contents.channels.get(name, {}).items()
        if (rest := tuple(other for other in versions if other != version))
    }
    withdrawn = replace(
        contents, releases={**contents.releases, (name, version): replace(release, yanked=True)}
    )
    return _pointing(withdrawn, name, pointers)


def is_within_reach(contents: Contents, name: str, version: str) -> bool:
    """Whether a channel points at a release, or would after one rollback."""
    return any(
        version in {versions[0], roll_back_target(contents, name, channel)}
        for channel, versions in contents.channels.get(name, {}).items()
    )


def yanked(name: str, version: str) -> ReleaseYankedError:
    """The refusal of a release that was withdrawn."""
    return ReleaseYankedError(f"{name}@{version} was withdrawn; publish the model under a new version")


def _stands(contents: Contents, name: str, version: str) -> bool:
    release = contents.releases.get((name, version))
    return release is not None and not release.yanked


def _first(version: str, before: tuple[str, ...]) -> tuple[str, ...]:
    return (version, *(other for other in before if other != version))[:HISTORY_LIMIT_COUNT]


def _pointing(contents: Contents, name: str, pointers: Channels) -> Contents:
    return replace(contents, channels={**contents.channels, name: pointers})
