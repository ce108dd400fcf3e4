"""What a publisher's role says: its releases and channels, to and from the signed part of TUF metadata.

A release `team/chat@1.0` is the target `team/chat/1.0` of the role `models-team`; names without a namespace belong to
the role `models`. A channel's versions are signed beside the targets, in the field `channels`. The role `client-keys`
has no targets: it says in the field `client_keys` which keys of clients let in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, to_builtins
from tuf.api.metadata import TargetFile, Targets

from registry.client_keys import KEYS_LIMIT_COUNT, ClientKey
from registry.digest import Digest, digest_of, parse_digest
from registry.errors import InputInvalidError, TrustTamperedError
from registry.manifest import unpack_manifest
from registry.reference import check_channel, check_name, check_version
from registry.wire import convert

if TYPE_CHECKING:
    from datetime import datetime

    from tuf.api.metadata import DelegatedRole

ROLE = "models"
CLIENT_KEYS_ROLE = "client-keys"
"""Reserved: no namespace of models has this name."""
HISTORY_LIMIT_COUNT = 32

ReleaseKey = tuple[str, str]
Channels = Mapping[str, tuple[str, ...]]
"""Each channel's versions, each once: the one that it points at, then where it pointed before, latest first."""

_ChannelsField = dict[
    str, dict[str, Annotated[tuple[str, ...], Meta(min_length=1, max_length=HISTORY_LIMIT_COUNT)]]
]
_ClientKeysField = Annotated[tuple[ClientKey, ...], Meta(max_length=KEYS_LIMIT_COUNT)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRelease:
    """The statement that a release exists: what its manifest's bytes must be; `yanked` once it was withdrawn."""

    sha256: Digest
    length_bytes: int
    yanked: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """All that one role says."""

    releases: Mapping[ReleaseKey, SignedRelease] = field(default_factory=dict)
    channels: Mapping[str, Channels] = field(default_factory=dict)
    client_keys: Mapping[str, ClientKey] = field(default_factory=dict)


def role_of(name: str) -> str:
    """The role that speaks for a model."""
    namespace, slash, _ = check_name(name).partition("/")
    return f"{ROLE}-{namespace}" if slash else ROLE


def role_of_namespace(namespace: str) -> str:
    """The role of a namespace; the empty one is that of names without any, `client-keys` is the role of that name.

    Raises:
        InputInvalidError: not the first part of a name.
    """
    if namespace == CLIENT_KEYS_ROLE:
        return CLIENT_KEYS_ROLE
    return role_of(f"{namespace}/x" if namespace else "x")


def is_role(role: str) -> bool:
    """Whether a role is that of a publisher, or of whoever makes client keys."""
    if role == CLIENT_KEYS_ROLE:
        return True
    try:
        return role == role_of_namespace(role.removeprefix(ROLE).removeprefix("-"))
    except InputInvalidError:
        return False


def paths_of(role: str) -> list[str]:
    """The patterns of the targets that a role may sign; `*` does not reach over a slash."""
    if role == CLIENT_KEYS_ROLE:
        return [role]  # the name of no release
    namespace = role.removeprefix(f"{ROLE}-")
    return ["*/*"] if role == ROLE else [f"{namespace}/*/*"]


def statement_of(manifest_bytes: bytes) -> SignedRelease:
    """What to sign of a manifest: digest and length of its unpacked bytes, however it travels.

    Readers compare with this and nothing else.

    Raises:
        ManifestInvalidError: not the stored form of a manifest.
    """
    plain = unpack_manifest(manifest_bytes)
    return SignedRelease(sha256=digest_of(plain), length_bytes=len(plain))


def contents_of(signed: Targets, delegation: DelegatedRole) -> Contents:
    """What a role says, as far as its delegation lets it speak; anything else that it says is passed over.

    Raises:
        TrustTamperedError: its keys signed something that makes no sense.
    """
    releases, channels = {}, {}
    keys: tuple[ClientKey, ...] = ()
    try:
        if delegation.name == CLIENT_KEYS_ROLE:
            keys = convert(signed.unrecognized_fields.get("client_keys", []), _ClientKeysField)
        for path, target in signed.targets.items():
            name, _, version = path.rpartition("/")
            if delegation.is_delegated_path(path) and role_of(name) == delegation.name:
                releases[name, check_version(version)] = SignedRelease(
                    sha256=parse_digest(target.hashes.get("sha256", "")),
                    length_bytes=target.length,
                    yanked=bool((target.custom or {}).get("yanked", False)),
                )
        field_read = convert(signed.unrecognized_fields.get("channels", {}), _ChannelsField)
        for name, pointers in field_read.items():
            if role_of(name) == delegation.name:
                channels[name] = {
                    check_channel(channel): tuple(map(check_version, versions))
                    for channel, versions in pointers.items()
                }
    except (InputInvalidError, AttributeError) as error:
        raise TrustTamperedError(
            f"what the keys of {delegation.name} signed makes no sense: {error}"
        ) from error
    return Contents(releases, channels, {key.key_id: key for key in keys})


def signed_part(contents: Contents, *, version: int, expires: datetime) -> Targets:
    """The role's next signed part; the same contents give the same bytes."""
    targets = {}
    for (name, release_version), release in sorted(contents.releases.items()):
        path = f"{name}/{release_version}"
        custom = {"custom": {"yanked": True}} if release.yanked else {}
        targets[path] = TargetFile(release.length_bytes, {"sha256": release.sha256}, path, custom)
    channels = {
        name: {channel: list(versions) for channel, versions in sorted(pointers.items())}
        for name, pointers in sorted(contents.channels.items())
        if pointers
    }
    fields: dict[str, object] = {"channels": channels}
    if contents.client_keys:
        fields["client_keys"] = [to_builtins(key) for _, key in sorted(contents.client_keys.items())]
    return Targets(version=version, expires=expires, targets=targets, unrecognized_fields=fields)
