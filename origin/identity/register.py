"""Who may join and who has joined, in the object store; every change is one conditional write, so origins share it.

Origins that race are decided between by `If-Match`: of a hundred joins with one single-use token exactly one is
written. Calls block.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from origin.errors import NodeIdTakenError, NodeRevokedError, NodeUnknownError, TokenUnknownError
from origin.identity.tokens import (
    ID_BYTES,
    SECRET_BYTES,
    TokenRecord,
    claim,
    new_token,
    prove,
    stamp,
)
from registry.errors import InputInvalidError, ObjectMissingError, PreconditionFailedError, StoreError
from registry.layout import JOIN_TOKENS, REVOKED_NODES, enrolled_node_key, join_token_key
from registry.wire import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from origin.api_enrolment import JoinToken
    from registry.store import ObjectStore

T = TypeVar("T", bound=Struct)

_TRIES_COUNT = 200
"""More than any race that a token of 1,000 uses sees at once; each try that fails means that another got through."""


class NodeRecord(Struct, frozen=True, kw_only=True):
    """A node that was let in, with the SHA-256 of its public key.

    Attributes:
        token_id: the token that let it in; "" when none did.
        caller_arn: whom AWS said it was, when that let it in; "" otherwise.
    """

    node_id: str
    key_sha256: str
    token_id: str
    enrolled_unix_s: float
    caller_arn: str = ""
    pool: str = ""
    region: str = ""


class Revoked(Struct, frozen=True):
    """The keys that were turned out: by SHA-256, the node's id and when."""

    keys: dict[str, tuple[str, float]] = {}


class Register:
    """Tokens, nodes and the list of those that were turned out."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def make_token(
        self,
        pin: str,
        *,
        now_unix_s: float,
        ttl_s: float,
        uses_count: int = 1,
        label: str = "",
        pool: str = "",
        region: str = "",
    ) -> tuple[JoinToken, TokenRecord]:
        """A new token, kept but for its secret. `pin` is the authority's.

        Raises:
            InputInvalidError: as `new_token`.
            StoreError: it cannot be kept.
        """
        token, record = new_token(
            id_bytes=secrets.token_bytes(ID_BYTES),
            secret_bytes=secrets.token_bytes(SECRET_BYTES),
            pin=pin,
            now_unix_s=now_unix_s,
            ttl_s=ttl_s,
            uses_count=uses_count,
            label=label,
            pool=pool,
            region=region,
        )
        if not self._store.put_if_absent(join_token_key(record.token_id), to_json(record)):
            raise StoreError(f"there is a join token {record.token_id} already; try again")
        return token, record

    def tokens(self) -> tuple[TokenRecord, ...]:
        """Every token, the newest first. Raises StoreError."""
        records = []
        for info in self._store.list(JOIN_TOKENS):
            found = self._read(info.key, TokenRecord)
            if found is not None:
                records.append(found[0])
        return tuple(sorted(records, key=lambda record: -record.created_unix_s))

    def revoke_token(self, token_id: str, now_unix_s: float) -> TokenRecord:
        """Let a token let nobody in any more; the nodes that it let in stay.

        Raises:
            TokenUnknownError: there is no such token.
        """

        def revoked(record: TokenRecord | None) -> TokenRecord:
            if record is None:
                raise TokenUnknownError(
                    f"there is no join token {token_id}; `edgeward token list` shows all", param="token_id"
                )
            return record if record.revoked_unix_s is not None else replace(record, revoked_unix_s=now_unix_s)

        return self._change(join_token_key(token_id), TokenRecord, revoked)

    def admit(
        self, token_id: str, secret: str, node_id: str, key_sha256: str, now_unix_s: float
    ) -> NodeRecord:
        """Let a node in: first the token is claimed, then the node's id is bound to its key.

        Both may be repeated by the same key, so that an answer that was lost costs no token.

        Raises:
            TokenInvalidError: no such token, or not its secret.
            TokenRevokedError, TokenExpiredError, TokenUsedError: it lets nobody in any more.
            NodeIdTakenError: a node of this id is in with another key.
        """

        def claimed(record: TokenRecord | None) -> TokenRecord:
            return claim(prove(record, secret), node_id, key_sha256, now_unix_s)

        place = join_token_key(token_id)
        found = self._read(place, TokenRecord)
        # Judged before the token is touched, so that a wrong id costs none; and again below, where it is decided.
        prove(found[0] if found else None, secret)
        self._check_free(self.node(node_id), node_id, key_sha256)
        token = self._change(place, TokenRecord, claimed)
        return self._bind(
            NodeRecord(
                node_id=node_id,
                key_sha256=key_sha256,
                token_id=token_id,
                enrolled_unix_s=now_unix_s,
                pool=token.pool,
                region=token.region,
            )
        )

    def admit_proven(self, node_id: str, caller_arn: str, key_sha256: str, now_unix_s: float) -> NodeRecord:
        """Let in an instance of which AWS said who it is. May be repeated by the same key.

        Raises:
            NodeIdTakenError: it is in with another key.
            NodeRevokedError: it was turned out, with whatever key: an instance can prove its role again and again, so
                that a new key alone must not bring it back.
        """
        known = self.node(node_id)
        turned_out = self.revoked().keys.get(known.key_sha256) if known is not None else None
        if turned_out is not None:
            raise NodeRevokedError(
                f"the node {node_id} was revoked at {stamp(turned_out[1])}, and its role does not bring it back: let "
                "it in with a join token, or replace the instance"
            )
        return self._bind(
            NodeRecord(
                node_id=node_id,
                key_sha256=key_sha256,
                token_id="",
                enrolled_unix_s=now_unix_s,
                caller_arn=caller_arn,
            )
        )

    def _bind(self, new: NodeRecord) -> NodeRecord:
        """Bind a node's id to its key; gives what was written the first time."""

        def bound(record: NodeRecord | None) -> NodeRecord:
            self._check_free(record, new.node_id, new.key_sha256)
            return record if record is not None and record.key_sha256 == new.key_sha256 else new

        return self._change(enrolled_node_key(new.node_id), NodeRecord, bound)

    def node(self, node_id: str) -> NodeRecord | None:
        """The node of this id; None when none was let in. Raises StoreError."""
        found = self._read(enrolled_node_key(node_id), NodeRecord)
        return found[0] if found else None

    def revoke_node(self, node_id: str, now_unix_s: float) -> NodeRecord:
        """Turn a node out, by its key: with a new key and a new token a node of this id may join again.

        Raises:
            NodeUnknownError: no node of this id was let in.
        """
        record = self.node(node_id)
        if record is None:
            raise NodeUnknownError(
                f"no node {node_id} was let in with a token; an unenrolled one has nothing that could be revoked",
                param="node_id",
            )

        def listed(revoked: Revoked | None) -> Revoked:
            keys = revoked.keys if revoked is not None else {}
            return Revoked(keys | {record.key_sha256: keys.get(record.key_sha256, (node_id, now_unix_s))})

        self._change(REVOKED_NODES, Revoked, listed)
        return record

    def revoked(self) -> Revoked:
        """The keys that were turned out. Raises StoreError."""
        found = self._read(REVOKED_NODES, Revoked)
        return found[0] if found else Revoked()

    def _check_free(self, record: NodeRecord | None, node_id: str, key_sha256: str) -> None:
        if record is None or record.key_sha256 == key_sha256 or record.key_sha256 in self.revoked().keys:
            return
        raise NodeIdTakenError(
            f"a node {node_id} joined with another key at {stamp(record.enrolled_unix_s)}: give this one another "
            f"node_id, or, if it takes that one's place, run `edgeward nodes revoke {node_id}` first",
            param="node_id",
        )

    def _change(self, key: str, kind: type[T], change: Callable[[T | None], T]) -> T:
        """Read, change and write what is under a key until nobody came between; nothing is written where it stays."""
        for _ in range(_TRIES_COUNT):
            found = self._read(key, kind)
            before, etag = found or (None, None)
            after = change(before)
            if after == before:
                return after
            try:
                self._store.put_if_match(key, to_json(after), etag)
            except PreconditionFailedError:
                continue  # another was quicker, or the answer to our own first try was lost: look again
            return after
        raise StoreError(f"{key} was written by others {_TRIES_COUNT} times in a row; try again")

    def _read(self, key: str, kind: type[T]) -> tuple[T, str] | None:
        try:
            stored = self._store.get(key)
        except ObjectMissingError:
            return None
        try:
            return from_json(stored.data, kind), stored.etag
        except InputInvalidError as error:
            raise StoreError(f"{key} in the object store is damaged: {error.message}") from error
