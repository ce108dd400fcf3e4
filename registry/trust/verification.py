"""Verification: what to believe of signed metadata, decided without any I/O (the TUF client workflow, section 5).

`verifying` is a conversation: it says which file it wants next and how long that may be, and is sent the bytes, or None
where there is no such file. The rules themselves are python-tuf's; what surrounds them is ours, so that the same
decisions serve threads and event loops, every read is bounded, and every refusal has a code of its own.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from tuf.api.exceptions import (
    BadVersionNumberError,
    EqualVersionNumberError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from registry.errors import (
    ReleaseUnknownError,
    TrustEndlessError,
    TrustError,
    TrustExpiredError,
    TrustMissingError,
    TrustMixedError,
    TrustRollbackError,
    TrustSignatureError,
    TrustTamperedError,
)
from registry.trust.statements import Contents, contents_of, is_role

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping

    from registry.trust.statements import Channels, SignedRelease

ROOT_LIMIT_BYTES = 512 * 1024
TIMESTAMP_LIMIT_BYTES = 16 * 1024
SNAPSHOT_LIMIT_BYTES = 2 * 1024 * 1024
TARGETS_LIMIT_BYTES = 32 * 1024 * 1024
ROTATIONS_LIMIT_COUNT = 256
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""A time at which nothing has expired."""

Kept = dict[str, bytes]
"""Files that were verified before, by role (`root.json`, `models.json`); roots also by number (`2.root.json`)."""


class Wanted(NamedTuple):
    """A file to get next: at most `limit_bytes` of it."""

    file: str
    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Signed metadata that fit together and carry the right signatures.

    Attributes:
        contents: what each role says; roles in `problems` are missing.
        problems: why the word of a role cannot be taken; the others stand.
        files: the verified bytes by the names under which stores and origins give them.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    contents: Mapping[str, Contents]
    problems: Mapping[str, TrustError]
    files: Mapping[str, bytes]
    expires_unix_s: Mapping[str, float] = field(default_factory=dict)

    def contents_for(self, role: str) -> Contents:
        """What a role says.

        Raises:
            ReleaseUnknownError: there is no such role.
            TrustError: its word cannot be taken.
        """
        if role in self.problems:
            raise self.problems[role]
        if role not in self.contents:
            raise ReleaseUnknownError(f"no publisher was given the role {role}")
        return self.contents[role]

    def role_file(self, role: str) -> bytes | None:
        """The verified bytes of a role's own file; None where it has not spoken."""
        meta = self.snapshot.meta.get(f"{role}.json")
        return None if meta is None else self.files.get(f"{meta.version}.{role}.json")

    def releases(self) -> dict[tuple[str, str], SignedRelease]:
        """Every release that some role speaks for."""
        return {key: release for said in self.contents.values() for key, release in said.releases.items()}

    def channels(self) -> dict[str, Channels]:
        """Every model's channels."""
        return {name: pointers for said in self.contents.values() for name, pointers in said.channels.items()}

    @property
    def first_expiry_unix_s(self) -> float:
        """When the first of the pieces that installs need expires; a single publisher's role does not count."""
        return min(self.expires_unix_s[role] for role in ("root", "timestamp", "snapshot", "targets"))


Verifying = Generator[Wanted, bytes | None, Verified]


def verifying(
    kept: MutableMapping[str, bytes], pin: bytes, *, at: datetime, roles: Collection[str] | None = None
) -> Verifying:
    """Verify what there is now, beginning from what was verified before.

    Args:
        kept: what was verified before; takes in each file as it proves right, so it only ever gets newer.
        pin: the root that is trusted to begin with.
        at: now. `LONG_AGO` takes expired metadata too, with all other checks; `expires_unix_s` tells.
        roles: the publishers' roles that matter; None is all.

    Raises:
        TrustError: what was sent is refused; its class says why.
    """
    known = _begun(kept, pin, at)
    yield from _rotate(known, kept)
    yield from _timestamp(known, kept)
    yield from _snapshot(known, kept)
    yield from _delegated(known, kept, "targets", "root")
    delegations = known.targets.delegations
    delegated = (delegations.roles if delegations is not None else None) or {}
    contents: dict[str, Contents] = {}
    problems: dict[str, TrustError] = {}
    for role, delegation in delegated.items():
        # A role that was delegated and has not spoken yet has no file. Of other names than ours there are none: one
        # could be that of a file which is kept for another purpose.
        asked = is_role(role) and (roles is None or role in roles)
        if not asked or f"{role}.json" not in known.snapshot.meta:
            continue
        try:
            yield from _delegated(known, kept, role, "targets")
            contents[role] = contents_of(_targets_of(known, role), delegation)
        except TrustError as error:
            problems[role] = error
    spoken = ("targets", *contents)
    return Verified(
        root=known.root,
        timestamp=known.timestamp,
        snapshot=known.snapshot,
        targets=known.targets,
        contents=contents,
        problems=problems,
        files=_files(known, kept, spoken),
        expires_unix_s={
            role: known[role].expires.timestamp() for role in ("root", "timestamp", "snapshot", *spoken)
        },
    )


def advance(steps: Verifying, data: bytes | None) -> Wanted | Verified:
    """Send an answer; what is wanted next, or the end of it."""
    try:
        return steps.send(data)
    except StopIteration as done:
        verified: Verified = done.value
        return verified


def check_root(data: bytes) -> Root:
    """The root that these bytes hold, signed by itself.

    Raises:
        TrustTamperedError: they are none.
    """
    if len(data) > ROOT_LIMIT_BYTES:
        raise TrustTamperedError(f"a root has at most {ROOT_LIMIT_BYTES} bytes, and this has {len(data)}")
    try:
        return TrustedMetadataSet(data, EnvelopeType.METADATA).root
    except RepositoryError as error:
        raise TrustTamperedError(f"this is no root of trust: {error}") from error


def _begun(kept: MutableMapping[str, bytes], pin: bytes, at: datetime) -> TrustedMetadataSet:
    root = kept.get("root.json", pin)
    try:
        known = TrustedMetadataSet(root, EnvelopeType.METADATA)
    except RepositoryError as error:
        if root == pin:
            raise TrustTamperedError(f"the trusted root cannot be read: {error}") from error
        del kept["root.json"]  # the disk garbled it; the chain of roots is walked again
        return _begun(kept, pin, at)
    known.reference_time = at
    kept.setdefault("root.json", pin)
    kept.setdefault(f"{known.root.version}.root.json", kept["root.json"])
    return known


def _rotate(
    known: TrustedMetadataSet, kept: MutableMapping[str, bytes]
) -> Generator[Wanted, bytes | None, None]:
    for _ in range(ROTATIONS_LIMIT_COUNT):
        file = f"{known.root.version + 1}.root.json"
        data = yield Wanted(file, ROOT_LIMIT_BYTES)
        if data is None:
            return
        _bounded(file, data, ROOT_LIMIT_BYTES)
        try:
            known.update_root(data)
        except RepositoryError as error:
            raise _refusal(error, file, data, None) from error
        kept["root.json"] = kept[file] = data
    raise TrustEndlessError(
        f"the root was replaced {ROTATIONS_LIMIT_COUNT} times in a row; that is no rotation"
    )


def _timestamp(
    known: TrustedMetadataSet, kept: MutableMapping[str, bytes]
) -> Generator[Wanted, bytes | None, None]:
    _try_kept(known.update_timestamp, kept, "timestamp.json")
    data = yield Wanted("timestamp.json", TIMESTAMP_LIMIT_BYTES)
    data = _present("timestamp.json", data, TIMESTAMP_LIMIT_BYTES)
    try:
        known.update_timestamp(data)
    except EqualVersionNumberError:
        pass  # the one that is kept stays; its expiry is looked at with the snapshot
    except RepositoryError as error:
        raise _refusal(error, "timestamp.json", data, None) from error
    else:
        kept["timestamp.json"] = data


def _snapshot(
    known: TrustedMetadataSet, kept: MutableMapping[str, bytes]
) -> Generator[Wanted, bytes | None, None]:
    meta = known.timestamp.snapshot_meta
    file, limit = f"{meta.version}.snapshot.json", meta.length or SNAPSHOT_LIMIT_BYTES

    def take_kept(data: bytes) -> None:
        known.update_snapshot(data, trusted=True)

    if _try_kept(take_kept, kept, "snapshot.json"):
        return
    if known.timestamp.is_expired(known.reference_time):
        raise expired("timestamp.json")
    data = yield Wanted(file, min(limit, SNAPSHOT_LIMIT_BYTES))
    data = _present(file, data, min(limit, SNAPSHOT_LIMIT_BYTES))
    try:
        known.update_snapshot(data)
    except RepositoryError as error:
        raise _refusal(error, file, data, meta.version) from error
    kept["snapshot.json"] = data


def _delegated(
    known: TrustedMetadataSet, kept: MutableMapping[str, bytes], role: str, delegator: str
) -> Generator[Wanted, bytes | None, None]:
    meta = known.snapshot.meta.get(f"{role}.json")
    if meta is None:
        raise TrustMissingError(f"the snapshot does not name {role}.json")

    def take(data: bytes) -> None:
        known.update_delegated_targets(data, role, delegator)

    if _try_kept(take, kept, f"{role}.json"):
        return
    file, limit = f"{meta.version}.{role}.json", min(meta.length or TARGETS_LIMIT_BYTES, TARGETS_LIMIT_BYTES)
    data = yield Wanted(file, limit)
    data = _present(file, data, limit)
    try:
        take(data)
    except RepositoryError as error:
        raise _refusal(error, file, data, meta.version) from error
    kept[f"{role}.json"] = data


def _try_kept(take: Callable[[bytes], object], kept: Mapping[str, bytes], name: str) -> bool:
    """Whether a kept file is still what is wanted; one that is not was perhaps signed by a key that was replaced."""
    data = kept.get(name)
    if data is None:
        return False
    try:
        take(data)
    except RepositoryError:
        return False
    return True


def _targets_of(known: TrustedMetadataSet, role: str) -> Targets:
    signed = known[role]
    assert isinstance(signed, Targets)  # taken in as such just before
    return signed


def _files(known: TrustedMetadataSet, kept: Mapping[str, bytes], spoken: Iterable[str]) -> dict[str, bytes]:
    """The verified bytes under their public names, every root since the pinned one included."""
    files = {name: data for name, data in kept.items() if name[0].isdigit()}
    files["timestamp.json"] = kept["timestamp.json"]
    for role in ("snapshot", *spoken):
        files[f"{known[role].version}.{role}.json"] = kept[f"{role}.json"]
    return files


def _present(file: str, data: bytes | None, limit_bytes: int) -> bytes:
    if data is None:
        raise TrustMissingError(f"{file} is not there; it was kept back, or nothing was ever published here")
    return _bounded(file, data, limit_bytes)


def _bounded(file: str, data: bytes, limit_bytes: int) -> bytes:
    if len(data) > limit_bytes:
        raise TrustEndlessError(f"{file} has more than the {limit_bytes} bytes that it may have")
    return data


def expired(file: str) -> TrustExpiredError:
    """The refusal of a file past its date."""
    return TrustExpiredError(
        f"{file} has expired: whoever publishes must renew it (`edgeward timestamp renew`), or somebody keeps the "
        "renewal back; what is installed goes on serving"
    )


def _refusal(error: RepositoryError, file: str, data: bytes, version: int | None) -> TrustError:
    """Our word for what python-tuf found wrong with a file; `version` is the one that was signed for, if any."""
    if isinstance(error, ExpiredMetadataError):
        return expired(file)
    if isinstance(error, UnsignedMetadataError):
        return TrustSignatureError(
            f"{file} is not signed by the keys that may sign it: {error}. Either it was tampered with, "
            "or the root of trust here is another store's: compare `edgeward keys show` with store.trusted_root"
        )
    kind: type[TrustError] = TrustTamperedError
    what = "cannot be read as signed metadata"
    if isinstance(error, (LengthOrHashMismatchError, BadVersionNumberError)):
        if version is None:
            kind, what = TrustRollbackError, "is older than what was seen before"
        elif _version_of(data) != version:
            kind, what = TrustMixedError, "is not the version that was signed together with the rest"
        elif isinstance(error, BadVersionNumberError):
            kind, what = TrustRollbackError, "names older pieces than were seen before"
        else:
            what = "has other bytes than were signed"
    elif type(error) is RepositoryError and file.endswith(".snapshot.json"):
        kind, what = TrustRollbackError, "takes back what was said before"
    return kind(f"{file} {what}: {error}")


def _version_of(data: bytes) -> int | None:
    try:
        return Metadata.from_bytes(data).signed.version
    except RepositoryError:
        return None
