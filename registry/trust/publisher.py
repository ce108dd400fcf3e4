"""Publisher: changes what is signed. One conditional write of `timestamp.json` decides between publishers.

A change writes the role's next file, the next snapshot, then the timestamp by If-Match. Numbers of roles and snapshots
are free slots: a number that somebody else took, or left behind in a crash, is skipped, and only what the timestamp
names counts. Whoever loses the timestamp reads again and redoes the change on what won.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp

from registry.errors import (
    ObjectMissingError,
    PreconditionFailedError,
    StoreError,
    TrustError,
)
from registry.layout import trust_key
from registry.store.probing import probe_conditional_writes
from registry.trust import ceremony
from registry.trust.keys import TARGETS_FILE
from registry.trust.standing import Standing, delegation, last_good, standing_of, vouches
from registry.trust.statements import CLIENT_KEYS_ROLE, Contents, role_of_namespace, signed_part
from registry.trust.verification import check_root

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuf.api.metadata import Root, Signed

    from registry.client_keys import ClientKey
    from registry.trust.keys import Keys
    from registry.trust.reader import StoreReader

log = structlog.get_logger()

_TRIES_COUNT = 32
_NUMBERS_COUNT = 24
_HALF = 0.5
_TIMESTAMP = "timestamp.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What should be signed anew. What a new root or new delegations make invalid is signed anew by itself."""

    root: Root | None = None
    targets: Targets | None = None
    contents: Mapping[str, Contents] = field(default_factory=dict)
    timestamp_only: bool = False


class Publisher:
    """Signs with the keys that are here. Blocks.

    Args:
        reader: of the store that is published to.
        keys: whoever's keys; each change needs its own.
    """

    def __init__(self, reader: StoreReader, keys: Keys) -> None:
        self._reader = reader
        self._store = reader.store
        self._keys = keys

    def require(self, role: str) -> None:
        """Look whether a change of this role could be signed and stored, before long work begins.

        A store in which nothing is signed yet must prove that it does conditional writes.

        Raises:
            KeyUnusableError: a key that must sign is not here.
            InputInvalidError: nobody was given this role.
            TrustError: what is signed now is refused.
            StoreError: the store ignores conditions.
        """
        verified, _ = self._reader.read()
        root = check_root(self._reader.pin) if verified is None else verified.root
        targets = self._first_targets() if verified is None else verified.targets
        for said in (delegation(targets, role), *(root.roles[name] for name in ceremony.ONLINE)):
            ceremony.require_keys(self._keys, said.keyids, said.threshold, role)
        if verified is None:
            probe_conditional_writes(self._store)

    def change(self, role: str, change: Callable[[Contents], Contents | None]) -> bool:
        """Change what a role says; False when `change` finds nothing to do.

        Raises:
            KeyUnusableError: a key that must sign is not here.
            InputInvalidError: nobody was given this role.
            StoreError: the store failed, or others were always quicker.
            TrustError: what is signed now is refused.
        """

        def draft(standing: Standing) -> Draft | None:
            delegation(standing.targets, role)
            if role in standing.problems:
                raise standing.problems[role]
            contents = change(standing.contents.get(role, Contents()))
            return None if contents is None else Draft(contents={role: contents})

        return self._transact(draft)

    def change_client_keys(
        self, change: Callable[[Mapping[str, ClientKey]], Mapping[str, ClientKey]]
    ) -> None:
        """Sign a changed list of client keys; `change` is called again where somebody else was quicker.

        Raises:
            KeyUnusableError: the key that signs the list is not here.
            InputInvalidError: nobody was given the role `client-keys`.
            EdgewardError: what `change` raises.
        """

        def changed(contents: Contents) -> Contents | None:
            keys = change(contents.client_keys)
            return None if keys == contents.client_keys else replace(contents, client_keys=keys)

        self.change(CLIENT_KEYS_ROLE, changed)

    def renew(self, *, even_if_young: bool = False) -> bool:
        """Give snapshot and timestamp a new date once half of the old one has passed; whether that was so.

        `even_if_young` does it in any case, and finishes a rotation that broke off.
        """

        def draft(standing: Standing) -> Draft | None:
            now_s = self._reader.now_unix_s()
            old = [
                role
                for role in ceremony.ONLINE
                if standing.expires_unix_s.get(role, 0.0) - now_s < ceremony.LIFE_S[role] * _HALF
            ]
            if not old and not even_if_young:
                return None
            return Draft(timestamp_only="snapshot" not in old)

        if self._is_empty():  # the first publish begins with fresh dates
            return False
        return self._transact(draft, mend=even_if_young)

    def delegate(self, namespace: str) -> None:
        """Give a namespace a publisher's key; one that had a key gets a new one, and its word is signed anew."""
        role = role_of_namespace(namespace)
        key = self._keys.make(role)

        def draft(standing: Standing) -> Draft:
            return Draft(targets=ceremony.delegated(standing.targets, role, key))

        self._transact(draft, mend=True)

    def rotate(self, role: str) -> None:
        """Give `root`, `targets` or `online` new keys; the old ones are worth nothing to those who saw the new root.

        Raises:
            KeyUnusableError: too few root keys are here.
        """
        made: list[Root] = []

        def draft(standing: Standing) -> Draft:
            if not made or made[0].version != standing.root.version + 1:
                made[:] = [
                    ceremony.rotated(standing.root, role, self._keys, now_unix_s=self._reader.now_unix_s())
                ]
            return Draft(root=made[0])

        self._transact(draft, mend=True)

    def renew_offline(self, role: str) -> None:
        """Give the root, the delegations or a publisher's role a new date, with the same keys."""

        def draft(standing: Standing) -> Draft:
            if role == "root":
                return Draft(root=ceremony.renewed_root(standing.root, self._reader.now_unix_s()))
            if role == "targets":
                return Draft(targets=standing.targets)
            delegation(standing.targets, role)
            return Draft(contents={role: standing.contents.get(role, Contents())})

        self._transact(draft, mend=True)

    def _transact(self, make: Callable[[Standing], Draft | None], *, mend: bool = False) -> bool:
        for _ in range(_TRIES_COUNT):
            standing = self._standing(mend=mend)
            draft = make(standing)
            if draft is None:
                return False
            try:
                self._write(standing, draft)
            except PreconditionFailedError:
                log.info("signing.lost_race", timestamp_version=standing.timestamp_version)
                continue
            return True
        raise StoreError(f"what is signed was changed by others {_TRIES_COUNT} times in a row; try again")

    def _is_empty(self) -> bool:
        return self._store.head(trust_key(_TIMESTAMP)) is None

    def _standing(self, *, mend: bool) -> Standing:
        try:
            verified, etag = self._reader.read()
        except TrustError:
            if not mend:
                raise
            head = self._store.head(trust_key(_TIMESTAMP))
            with self._reader.kept.turn() as files:
                return last_good(files, head.etag if head is not None else None)
        if verified is None:
            return self._first()
        return standing_of(verified, etag)

    def _first(self) -> Standing:
        """Before the first publish: what `keys init` left beside the keys."""
        root = check_root(self._reader.pin)
        data = self._keys.read(TARGETS_FILE)
        targets = self._first_targets()
        self._put(f"{root.version}.root.json", self._reader.pin)
        self._put(f"{targets.version}.targets.json", data)
        return Standing(
            root=root,
            targets=targets,
            contents={},
            etag=None,
            meta={"targets.json": MetaFile.from_data(targets.version, data, ["sha256"])},
            data={"targets": data},
        )

    def _first_targets(self) -> Targets:
        return Metadata[Targets].from_bytes(self._keys.read(TARGETS_FILE)).signed

    def _write(self, standing: Standing, draft: Draft) -> None:
        """Write what the draft says, and whatever has to follow it. Raises PreconditionFailedError for a lost race."""
        now_s = self._reader.now_unix_s()
        root, learned, meta = standing.root, dict[str, bytes](), dict(standing.meta)
        if draft.root is not None:
            data = ceremony.signed_root(standing.root, draft.root, self._keys)
            root = draft.root
            self._put(f"{root.version}.root.json", data)
        targets = standing.targets if draft.targets is None else draft.targets
        if draft.targets is not None or not vouches(root, "targets", standing.data["targets"]):
            targets = copy.deepcopy(targets)
            targets.version, targets.expires = (
                standing.targets.version + 1,
                ceremony.expiry("targets", now_s),
            )
            learned["targets.json"] = self._put_next("targets", targets, root, meta)
        delegations = targets.delegations
        for role in (delegations.roles or {}) if delegations is not None else {}:
            said, data_before = standing.contents.get(role), standing.data.get(role)
            if role in draft.contents or (
                data_before is not None and not vouches(targets, role, data_before)
            ):
                before = standing.meta.get(f"{role}.json")
                part = signed_part(
                    draft.contents.get(role, said or Contents()),
                    version=before.version + 1 if before is not None else 1,
                    expires=ceremony.expiry("role", now_s),
                )
                learned[f"{role}.json"] = self._put_next(role, part, targets, meta)
        snapshot_meta = meta.pop("snapshot.json", None)
        stays = draft.timestamp_only and vouches(root, "snapshot", standing.data.get("snapshot"))
        if not stays or snapshot_meta is None:
            snapshot = Snapshot(
                version=standing.snapshot_version + 1, expires=ceremony.expiry("snapshot", now_s), meta=meta
            )
            written: dict[str, MetaFile] = {}
            learned["snapshot.json"] = self._put_next("snapshot", snapshot, root, written)
            snapshot_meta = written["snapshot.json"]
        timestamp = Timestamp(
            version=standing.timestamp_version + 1,
            expires=ceremony.expiry("timestamp", now_s),
            snapshot_meta=snapshot_meta,
        )
        learned[_TIMESTAMP] = self._signed(timestamp, "timestamp", root)
        self._put_timestamp(learned[_TIMESTAMP], standing.etag)
        self._reader.learn({f"{role}.json": data for role, data in standing.data.items()} | learned)

    def _put_next(
        self, role: str, part: Signed, delegator: Root | Targets, meta: dict[str, MetaFile]
    ) -> bytes:
        """Write a role's file under the next number that is free."""
        first = part.version
        for jump in range(_NUMBERS_COUNT):
            part.version = first + 2**jump - 1
            data = self._signed(part, role, delegator)
            file = trust_key(f"{part.version}.{role}.json")
            if self._store.put_if_absent(file, data) or self._is_there(file, data):
                meta[f"{role}.json"] = MetaFile.from_data(part.version, data, ["sha256"])
                return data
        raise StoreError(f"no number is free for the next {role}.json; has somebody filled the store's tuf/?")

    def _put(self, file: str, data: bytes) -> None:
        """Write a file whose number cannot be another."""
        key = trust_key(file)
        if not self._store.put_if_absent(key, data) and not self._is_there(key, data):
            raise PreconditionFailedError(f"somebody else wrote {key} first")

    def _put_timestamp(self, data: bytes, etag: str | None) -> None:
        key = trust_key(_TIMESTAMP)
        try:
            self._store.put_if_match(key, data, etag)
        except PreconditionFailedError:
            if not self._is_there(key, data):  # our own write, when its answer was lost
                raise

    def _is_there(self, key: str, data: bytes) -> bool:
        try:
            return self._store.get(key).data == data
        except ObjectMissingError:
            return False

    def _signed(self, part: Signed, role: str, delegator: Root | Targets) -> bytes:
        said = delegator.get_delegated_role(role)
        return ceremony.signed(part, self._keys, said.keyids, said.threshold)
