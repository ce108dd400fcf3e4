"""Client keys: what each may do, as the records that are signed; made, rotated and revoked by pure functions.

    ek_<id>_<secret>      id: 12 hexadecimal digits; secret: 32 random bytes in base64url

Of a secret its SHA-256 is kept and nothing else. A password needs a slow hash because it can be guessed; 256 random
bits cannot, so a plain hash is right, and costs each request a microsecond. A key may have several secrets, of which
all but the newest end soon: that is how it is rotated, while its id, its limits and what is cached for it stay.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from registry.errors import ClientKeyUnknownError, InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ID_BYTES: Final = 6
SECRET_BYTES: Final = 32
KEYS_LIMIT_COUNT: Final = 50_000
SECRETS_LIMIT_COUNT: Final = 4
_PATTERNS_LIMIT_COUNT = 64
_RATE_LIMIT_PER_H = 3_600_000_000
_CONCURRENT_LIMIT_COUNT = 1_000_000

_TOKEN = re.compile(r"ek_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,62}")
_PATTERN = re.compile(r"[A-Za-z0-9._/*?\[\]-]{1,128}")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*/\s*(s|min|h)")
_PERIODS_PER_H = {"s": 3600, "min": 60, "h": 1}

# Whole numbers, since what is signed has one canonical form, and fractions have none.
_UnixS = Annotated[int, Meta(ge=0, le=10**12)]
_Pattern = Annotated[str, Meta(pattern=rf"^{_PATTERN.pattern}\Z")]


class KeySecret(Struct, frozen=True, kw_only=True):
    """One secret of a key: the SHA-256 of it in hexadecimal, and when it ends; None is with the key."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    expires_unix_s: _UnixS | None = None


class ClientKey(Struct, frozen=True, kw_only=True):
    """What the holder of a key may do.

    Attributes:
        key_id: 12 hexadecimal digits; no secret.
        name: whose it is, for people.
        secrets: the newest first.
        models: patterns (`fnmatch`) of the names of models that it may ask.
        expires_unix_s: when it ends; None is never.
        rate_per_h: requests an hour, spread evenly, that it may send to each node and to each origin; 0 is no limit.
        concurrent_count: requests of it that one node answers at a time; 0 is no limit.
        revoked_unix_s: when it was withdrawn.
    """

    key_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{12}\Z")]
    name: Annotated[str, Meta(pattern=rf"^{_NAME.pattern}\Z")]
    secrets: Annotated[tuple[KeySecret, ...], Meta(min_length=1, max_length=SECRETS_LIMIT_COUNT)]
    models: Annotated[tuple[_Pattern, ...], Meta(min_length=1, max_length=_PATTERNS_LIMIT_COUNT)] = ("*",)
    created_unix_s: _UnixS
    expires_unix_s: _UnixS | None = None
    rate_per_h: Annotated[int, Meta(ge=0, le=_RATE_LIMIT_PER_H)] = 0
    concurrent_count: Annotated[int, Meta(ge=0, le=_CONCURRENT_LIMIT_COUNT)] = 0
    revoked_unix_s: _UnixS | None = None

    def may_ask(self, model: str) -> bool:
        """Whether a model's bare name is within its scope."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def state(self, now_unix_s: float) -> str:
        """In a word: `open`, `expired` or `revoked`."""
        if self.revoked_unix_s is not None:
            return "revoked"
        ended = self.expires_unix_s is not None and now_unix_s >= self.expires_unix_s
        return "expired" if ended else "open"


Keys = dict[str, ClientKey]
"""Keys by their ids."""


def parse_token(text: str) -> tuple[str, str] | None:
    """The id and the secret that a key spells; None for what is no key."""
    match = _TOKEN.fullmatch(text)
    return (match[1], match[2]) if match else None


def sha256_of(secret: str) -> str:
    """The SHA-256 of a secret as it is spelled, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def parse_rate(text: str) -> int:
    """Requests an hour, from `10/s`, `600/min` or `100/h`.

    Raises:
        InputInvalidError: not written so, or 0.
    """
    match = _RATE.fullmatch(text.strip())
    rate_per_h = round(float(match[1]) * _PERIODS_PER_H[match[2]]) if match else 0
    if not 0 < rate_per_h <= _RATE_LIMIT_PER_H:
        raise InputInvalidError(
            f"{text[:40]!r} is no rate: write a number over 0 and a time, such as 10/s, 600/min or 100/h",
            param="rate",
        )
    return rate_per_h


def new_key(
    *,
    id_bytes: bytes,
    secret_bytes: bytes,
    name: str,
    now_unix_s: float,
    models: Sequence[str] = ("*",),
    ttl_s: float | None = None,
    rate_per_h: int = 0,
    concurrent_count: int = 0,
) -> tuple[str, ClientKey]:
    """A key for its holder, and what is kept of it.

    `id_bytes` and `secret_bytes` are 6 and 32 random ones; the key is good for `ttl_s`, None without an end.

    Raises:
        InputInvalidError: a name or a pattern that is none, or a limit out of range.
    """
    if not _NAME.fullmatch(name):
        raise InputInvalidError(
            f"{name[:80]!r} is no name for a client: write 1 to 63 letters, digits, spaces or `._@-`, "
            "a letter or digit first",
            param="name",
        )
    if not 1 <= len(models) <= _PATTERNS_LIMIT_COUNT or not all(map(_PATTERN.fullmatch, models)):
        raise InputInvalidError(
            "models: write 1 to 64 names or patterns of models with commas between them, such as chat,embed*",
            param="models",
        )
    if ttl_s is not None and not 1 <= ttl_s <= 1e10:
        raise InputInvalidError(f"a key may be good for 1 s or longer, not for {ttl_s:g} s", param="expires")
    if not 0 <= concurrent_count <= _CONCURRENT_LIMIT_COUNT:
        raise InputInvalidError(
            f"{concurrent_count} requests at a time: say 1 to {_CONCURRENT_LIMIT_COUNT}, or 0 for no limit",
            param="concurrent",
        )
    key_id, secret = id_bytes.hex(), _spelled(secret_bytes)
    return f"ek_{key_id}_{secret}", ClientKey(
        key_id=key_id,
        name=name,
        secrets=(KeySecret(sha256=sha256_of(secret)),),
        models=tuple(dict.fromkeys(models)),
        created_unix_s=int(now_unix_s),
        expires_unix_s=None if ttl_s is None else int(now_unix_s + ttl_s),
        rate_per_h=rate_per_h,
        concurrent_count=concurrent_count,
    )


def added(keys: Mapping[str, ClientKey], key: ClientKey) -> Keys:
    """The keys with a new one.

    Raises:
        InputInvalidError: there are as many keys as there may be, or one with this id.
    """
    if key.key_id in keys:
        raise InputInvalidError(f"there is a key {key.key_id} already; try again")
    if len(keys) >= KEYS_LIMIT_COUNT:
        raise InputInvalidError(
            f"there are {len(keys)} keys, and no more are kept; `edgeward clients revoke ID --forget` drops one"
        )
    return {**keys, key.key_id: key}


def rotated(
    keys: Mapping[str, ClientKey], key_id: str, *, secret_bytes: bytes, overlap_s: float, now_unix_s: float
) -> tuple[str, Keys]:
    """A key's new secret, and the keys with it; the secrets of before are good for `overlap_s` more, or until they end.

    Raises:
        ClientKeyUnknownError: there is no such key.
        InputInvalidError: it was revoked or has expired, or the overlap is out of range.
    """
    key = find(keys, key_id)
    if key.state(now_unix_s) != "open":
        raise InputInvalidError(f"the key {key_id} is {key.state(now_unix_s)}; make another", param="id")
    if not 0 <= overlap_s <= 1e9:
        raise InputInvalidError(f"an overlap of {overlap_s:g} s is out of range", param="overlap")
    ends_s = int(now_unix_s + overlap_s)
    before = tuple(
        replace(secret, expires_unix_s=min(ends_s, secret.expires_unix_s or ends_s))
        for secret in key.secrets
        if secret.expires_unix_s is None or secret.expires_unix_s > now_unix_s
    )
    secret = _spelled(secret_bytes)
    kept = (KeySecret(sha256=sha256_of(secret)), *(before if overlap_s else ()))[:SECRETS_LIMIT_COUNT]
    return f"ek_{key_id}_{secret}", {**keys, key_id: replace(key, secrets=kept)}


def revoked(keys: Mapping[str, ClientKey], key_id: str, *, now_unix_s: float, forget: bool = False) -> Keys:
    """The keys once this one lets nobody in any more; `forget` drops it from the list too.

    Raises:
        ClientKeyUnknownError: there is no such key.
    """
    key = find(keys, key_id)
    if forget:
        return {other_id: other for other_id, other in keys.items() if other_id != key_id}
    when_s = int(now_unix_s) if key.revoked_unix_s is None else key.revoked_unix_s
    return {**keys, key_id: replace(key, revoked_unix_s=when_s)}


def find(keys: Mapping[str, ClientKey], key_id: str) -> ClientKey:
    """The key of this id.

    Raises:
        ClientKeyUnknownError: there is none.
    """
    key = keys.get(key_id)
    if key is None:
        shown = repr(key_id[:16]) if parse_token(key_id) is None else "this id"
        raise ClientKeyUnknownError(
            f"there is no client key {shown}; `edgeward clients list` shows the ids of all", param="id"
        )
    return key


def _spelled(secret_bytes: bytes) -> str:
    return urlsafe_b64encode(secret_bytes).rstrip(b"=").decode("ascii")
