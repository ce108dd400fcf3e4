"""Standing: what is signed now, as whoever changes it sees it; pure functions of what was verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from registry.errors import InputInvalidError, TrustError
from registry.trust.statements import CLIENT_KEYS_ROLE, Contents, contents_of
from registry.trust.verification import check_root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuf.api.metadata import DelegatedRole

    from registry.trust.verification import Kept, Verified

_TIMESTAMP = "timestamp.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is signed now, as a change begins from it; `etag` is that of the timestamp it was read from."""

    root: Root
    targets: Targets
    contents: Mapping[str, Contents]
    etag: str | None
    meta: Mapping[str, MetaFile] = field(default_factory=dict)
    snapshot_version: int = 0
    timestamp_version: int = 0
    data: Mapping[str, bytes] = field(default_factory=dict)
    problems: Mapping[str, TrustError] = field(default_factory=dict)
    expires_unix_s: Mapping[str, float] = field(default_factory=dict)


def delegation(targets: Targets, role: str) -> DelegatedRole:
    """What a role may speak for.

    Raises:
        InputInvalidError: nobody was given it.
    """
    delegations = targets.delegations
    found = (delegations.roles or {}).get(role) if delegations is not None else None
    if found is None:
        if role == CLIENT_KEYS_ROLE:
            raise InputInvalidError(
                f"nobody may make client keys yet: run `edgeward keys delegate {role}` where the targets key is"
            )
        namespace = role.partition("-")[2]
        raise InputInvalidError(
            f"nobody may publish under {namespace}/ yet: run `edgeward keys delegate {namespace}` where the "
            "targets key is",
            param="name",
        )
    return found


def standing_of(verified: Verified, etag: str | None) -> Standing:
    """What was read from the store, as a change begins from it."""
    meta = verified.snapshot.meta
    spoken = {
        role: verified.files[f"{meta[f'{role}.json'].version}.{role}.json"]
        for role in ("targets", *verified.contents)
    }
    spoken["snapshot"] = verified.files[f"{verified.snapshot.version}.snapshot.json"]
    return Standing(
        root=verified.root,
        targets=verified.targets,
        contents=verified.contents,
        etag=etag,
        meta={**meta, "snapshot.json": verified.timestamp.snapshot_meta},
        snapshot_version=verified.snapshot.version,
        timestamp_version=verified.timestamp.version,
        data=spoken,
        problems=verified.problems,
        expires_unix_s=verified.expires_unix_s,
    )


def last_good(files: Kept, etag: str | None) -> Standing:
    """What was verified last, under the newest root: where a rotation goes on after a crash or an attack.

    The timestamp does not count here: it may be a thief's. All else is what it vouched for while it was ours.

    Args:
        files: what was verified before.
        etag: of the timestamp that is in the store now.

    Raises:
        TrustError: too little was verified before.
    """
    roots = [check_root(data) for name, data in files.items() if name.endswith(".root.json")]
    roots.sort(key=lambda root: -root.version)
    snapshot_data, targets_data = (
        _believed(roots, "snapshot", files),
        _believed(roots, "targets", files),
    )
    snapshot = Metadata[Snapshot].from_bytes(snapshot_data).signed
    targets = Metadata[Targets].from_bytes(targets_data).signed
    data, contents = {"snapshot": snapshot_data, "targets": targets_data}, {}
    delegations = targets.delegations
    for role, said in ((delegations.roles or {}) if delegations is not None else {}).items():
        meta = snapshot.meta.get(f"{role}.json")
        if meta is not None:
            data[role] = _believed([targets], role, files)
            part = Metadata[Targets].from_bytes(data[role]).signed
            if part.version != meta.version:
                raise _nothing_to_mend(role)
            contents[role] = contents_of(part, said)
    timestamp = Metadata[Timestamp].from_bytes(files[_TIMESTAMP]).signed
    return Standing(
        root=roots[0],
        targets=targets,
        contents=contents,
        etag=etag,
        meta=snapshot.meta,
        snapshot_version=snapshot.version,
        timestamp_version=timestamp.version,
        data=data,
    )


def _believed(delegators: Sequence[Root | Targets], role: str, files: Kept) -> bytes:
    """A kept file that one of these vouches for."""
    data = files.get(f"{role}.json")
    if data is None or not any(vouches(delegator, role, data) for delegator in delegators):
        raise _nothing_to_mend(role)
    return data


def _nothing_to_mend(role: str) -> TrustError:
    return TrustError(
        f"what is signed in the store is refused, and no good {role}.json is known here to go on from; do this "
        "where it was published from last"
    )


def vouches(delegator: Root | Targets, role: str, data: bytes | None) -> bool:
    """Whether metadata are signed by the keys that a root or delegations name for the role."""
    if data is None:
        return False
    metadata = Metadata[Any].from_bytes(data)
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError:
        return False
    return True
