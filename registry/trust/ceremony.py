"""Ceremony: the first root and delegations, and how new ones follow; pure but for the keys that sign."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from registry.errors import InputInvalidError, KeyUnusableError
from registry.trust.keys import ROOT_FILE, TARGETS_FILE
from registry.trust.statements import CLIENT_KEYS_ROLE, paths_of, role_of_namespace

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from securesystemslib.signer import CryptoSigner, Key
    from tuf.api.metadata import Signed

    from registry.trust.keys import Keys

_DAY_S = 86_400.0
LIFE_S = {
    "root": 365 * _DAY_S,
    "targets": 365 * _DAY_S,
    "role": 90 * _DAY_S,
    "snapshot": 7 * _DAY_S,
    "timestamp": _DAY_S,
}
"""How long metadata stay good, in seconds; what offline keys sign lives long, since signing it takes a person."""

ONLINE = ("snapshot", "timestamp")
ROTATABLE = ("root", "targets", "online")
_KEYS_LIMIT_COUNT = 16


def begin(
    keys: Keys,
    *,
    now_unix_s: float,
    root_keys_count: int = 1,
    threshold: int = 1,
    namespaces: Sequence[str] = (),
) -> None:
    """Make all keys, and the first root and delegations beside them. Needs no store and no network.

    Raises:
        InputInvalidError: a threshold that cannot be met.
    """
    if not 1 <= threshold <= root_keys_count <= _KEYS_LIMIT_COUNT:
        raise InputInvalidError(
            f"of {root_keys_count} root keys {threshold} must sign: use 1 to {_KEYS_LIMIT_COUNT} keys, and a threshold "
            "between 1 and their number"
        )
    root = Root(version=1, expires=expiry("root", now_unix_s), consistent_snapshot=True)
    for number in range(root_keys_count):
        root.add_key(keys.make(f"root{number + 1}"), "root")
    root.roles["root"].threshold = threshold
    root.add_key(keys.make("targets"), "targets")
    online = keys.make("online")
    for role in ONLINE:
        root.add_key(online, role)
    targets = Targets(version=1, expires=expiry("targets", now_unix_s), delegations=Delegations({}, {}))
    for namespace in ("", CLIENT_KEYS_ROLE, *namespaces):
        role = role_of_namespace(namespace)
        targets = delegated(targets, role, keys.make(role))
    keys.write(TARGETS_FILE, signed(targets, keys, root.roles["targets"].keyids, 1))
    # Last, since it says that all the rest is there.
    keys.write(ROOT_FILE, signed(root, keys, root.roles["root"].keyids, threshold))


def delegated(targets: Targets, role: str, key: Key) -> Targets:
    """Delegations in which a role has this key and no other."""
    changed = copy.deepcopy(targets)
    delegations = changed.delegations
    assert delegations is not None  # `begin` makes them
    assert delegations.roles is not None
    for key_id in tuple(delegations.roles[role].keyids) if role in delegations.roles else ():
        changed.revoke_key(key_id, role)
    delegations.roles[role] = DelegatedRole(role, [], 1, True, paths=paths_of(role))  # tuf's order
    changed.add_key(key, role)
    return changed


def rotated(root: Root, role: str, keys: Keys, *, now_unix_s: float) -> Root:
    """The next root, in which `root`, `targets` or `online` has new keys, as many as before."""
    changed = renewed_root(root, now_unix_s)
    for name in ONLINE if role == "online" else (role,):
        for key_id in tuple(root.roles[name].keyids):
            changed.revoke_key(key_id, name)
    if role == "root":
        for number in range(len(root.roles["root"].keyids)):
            changed.add_key(keys.make(f"root{number + 1}"), "root")
    elif role == "targets":
        changed.add_key(keys.make("targets"), "targets")
    else:
        online = keys.make("online")
        for name in ONLINE:
            changed.add_key(online, name)
    return changed


def renewed_root(root: Root, now_unix_s: float) -> Root:
    """The next root, with the same keys and a new date."""
    changed = copy.deepcopy(root)
    changed.version += 1
    changed.expires = expiry("root", now_unix_s)
    return changed


def signed_root(old: Root, new: Root, keys: Keys) -> bytes:
    """The bytes of the next root: the threshold of the old keys and that of the new ones have signed.

    Raises:
        KeyUnusableError: too few of these keys are here.
    """
    key_ids = list(dict.fromkeys([*old.roles["root"].keyids, *new.roles["root"].keyids]))
    metadata = Metadata(new)
    for signer in keys.signers(key_ids):
        metadata.sign(signer, append=True)
    for root in (old, new):
        try:
            root.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError as error:
            threshold = root.roles["root"].threshold
            raise KeyUnusableError(
                f"a new root needs {threshold} of its root keys, and there are too few in {keys.place}: "
                "bring the key files together there for this one command"
            ) from error
    return metadata.to_bytes()


def signed(part: Signed, keys: Keys, key_ids: Collection[str], threshold: int) -> bytes:
    """The bytes of signed metadata.

    Raises:
        KeyUnusableError: too few of these keys are here.
    """
    signers = require_keys(
        keys, key_ids, threshold, "a publisher" if isinstance(part, Targets) else part.type
    )
    metadata = Metadata[Any](part)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def require_keys(keys: Keys, key_ids: Collection[str], threshold: int, role: str) -> list[CryptoSigner]:
    """Those of these keys that are here, if they are enough.

    Raises:
        KeyUnusableError: they are not.
    """
    signers = keys.signers(key_ids)
    if len(signers) < threshold:
        raise KeyUnusableError(
            f"too few keys in {keys.place} may sign for {role}: it needs {threshold} of the keys "
            f"{', '.join(key_id[:8] for key_id in key_ids)}; store.keys_dir says where keys are"
        )
    return signers


def expiry(kind: str, now_unix_s: float) -> datetime:
    """When metadata of a kind that are signed now are past their date."""
    return datetime.fromtimestamp(int(now_unix_s + LIFE_S[kind]), UTC)
