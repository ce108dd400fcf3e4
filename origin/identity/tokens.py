"""What a join token may do, and whether it lets a node in: records and their changes, pure.

The origin keeps the SHA-256 of the secret alone. A secret is 256 random bits, so no slower hash is needed, and the
comparison takes the same time whatever differs.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from origin.api_enrolment import JoinToken
from origin.errors import TokenExpiredError, TokenInvalidError, TokenRevokedError, TokenUsedError
from registry.errors import InputInvalidError

SECRET_BYTES = 32
ID_BYTES = 6
USES_LIMIT_COUNT = 1000
_LONGEST_S = 90 * 86_400.0


class Claim(Struct, frozen=True):
    """A node that a token let in, the SHA-256 of its public key, and when."""

    node_id: str
    key_sha256: str
    at_unix_s: float


class TokenRecord(Struct, frozen=True, kw_only=True):
    """One token, as the object store keeps it.

    Attributes:
        uses_count: how many nodes it may let in.
        label: what it is for, in words.
        pool: what the nodes that it lets in belong to; "" says nothing.
        region: where they stand; "" says nothing.
    """

    token_id: str
    secret_sha256: str
    created_unix_s: float
    expires_unix_s: float
    uses_count: Annotated[int, Meta(ge=1, le=USES_LIMIT_COUNT)] = 1
    label: str = ""
    pool: str = ""
    region: str = ""
    revoked_unix_s: float | None = None
    claims: tuple[Claim, ...] = ()

    def state(self, now_unix_s: float) -> str:
        """In a word: `open`, `used`, `expired` or `revoked`."""
        if self.revoked_unix_s is not None:
            return "revoked"
        if len(self.claims) >= self.uses_count:
            return "used"
        return "expired" if now_unix_s >= self.expires_unix_s else "open"


def new_token(
    *,
    id_bytes: bytes,
    secret_bytes: bytes,
    pin: str,
    now_unix_s: float,
    ttl_s: float,
    uses_count: int = 1,
    label: str = "",
    pool: str = "",
    region: str = "",
) -> tuple[JoinToken, TokenRecord]:
    """A token for its holder, and what is kept of it.

    `id_bytes` and `secret_bytes` are 6 and 32 random ones, `pin` is the authority's, and the token may be used for
    `ttl_s`.

    Raises:
        InputInvalidError: no time, too long a time, too many uses, or a label that is no line of text.
    """
    if not 1 <= ttl_s <= _LONGEST_S:
        raise InputInvalidError(
            f"a join token may be used for 1 s to 90 days, not for {ttl_s:g} s", param="ttl"
        )
    if not 1 <= uses_count <= USES_LIMIT_COUNT:
        raise InputInvalidError(
            f"a join token lets in 1 to {USES_LIMIT_COUNT} nodes, not {uses_count}", param="uses"
        )
    for name, text in (("label", label), ("pool", pool), ("region", region)):
        if len(text) > 120 or not text.isprintable():
            raise InputInvalidError(f"the {name} must be one line of at most 120 characters", param=name)
    token = JoinToken(id_bytes.hex(), urlsafe_b64encode(secret_bytes).rstrip(b"=").decode(), pin)
    return token, TokenRecord(
        token_id=token.token_id,
        secret_sha256=sha256_of(token.secret),
        created_unix_s=now_unix_s,
        expires_unix_s=now_unix_s + ttl_s,
        uses_count=uses_count,
        label=label,
        pool=pool,
        region=region,
    )


def prove(record: TokenRecord | None, secret: str) -> TokenRecord:
    """The record, if this is its secret; a wrong secret and an unknown id cannot be told apart.

    Raises:
        TokenInvalidError: it is not.
    """
    kept = record.secret_sha256 if record is not None else "0" * 64
    if not hmac.compare_digest(kept, sha256_of(secret)) or record is None:
        raise TokenInvalidError(
            "there is no join token of this id with this secret; copy it whole, or make "
            "one with `edgeward token create`"
        )
    return record


def claim(record: TokenRecord, node_id: str, key_sha256: str, now_unix_s: float) -> TokenRecord:
    """The record once this node was let in; the same record when the same key was let in before.

    A node whose answer was lost asks again with the same key, and gets its certificate while the token lives.

    Raises:
        TokenRevokedError: it was withdrawn.
        TokenExpiredError: its time is over.
        TokenUsedError: it has let in as many nodes as it may.
    """
    token_id = record.token_id
    if record.revoked_unix_s is not None:
        raise TokenRevokedError(f"the join token {token_id} was revoked at {stamp(record.revoked_unix_s)}")
    if now_unix_s >= record.expires_unix_s:
        raise TokenExpiredError(
            f"the join token {token_id} expired at {stamp(record.expires_unix_s)}, and the origin's clock says "
            f"{stamp(now_unix_s)}; make another with `edgeward token create`"
        )
    if any((c.node_id, c.key_sha256) == (node_id, key_sha256) for c in record.claims):
        return record
    if len(record.claims) >= record.uses_count:
        last = record.claims[-1]
        raise TokenUsedError(
            f"the join token {token_id} has been used: it let in {last.node_id} at {stamp(last.at_unix_s)}; "
            "make another with `edgeward token create`"
        )
    return replace(record, claims=(*record.claims, Claim(node_id, key_sha256, now_unix_s)))


def sha256_of(secret: str) -> str:
    """The SHA-256 of a secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def stamp(unix_s: float) -> str:
    """A moment for people, in UTC and to the second."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
