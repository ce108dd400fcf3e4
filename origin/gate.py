"""The gate: whether a request may come in by the client key that it shows, and how much of each key comes in at a time.

The same gate stands in every node and every origin, and asks nobody: it knows the signed list of keys as it was read
last. An id is looked for in a sorted list, and where it is not, the record where it would stand is looked at in its
place, so that a wrong secret and an unknown id take the same way; then hashes are compared in constant time. A clock
can tell neither how much of a secret is right nor whether an id exists. Rates are token buckets, one for each key, as
deep as a second's worth and at least 1.

Nothing here reads a clock: `now_s` comes from one that does not go back, `now_unix_s` from the one on the wall.
"""

from __future__ import annotations

import hmac
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from origin.errors import (
    ApiKeyInvalidError,
    ClientKeysUnknownError,
    KeyBusyError,
    KeyRateError,
    ModelOutOfScopeError,
)
from registry.client_keys import ClientKey, KeySecret, parse_token, sha256_of
from registry.reference import bare_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEME = "bearer "
_HEADER_LIMIT = 256
_NOBODY = ClientKey(
    key_id="0" * 12, name="nobody", secrets=(KeySecret(sha256="0" * 64),), created_unix_s=0, revoked_unix_s=0
)
_HOW = "send `Authorization: Bearer ek_...`; `edgeward clients create NAME` makes a key"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request.

    Attributes:
        key: the key that it came in by; None where no key is asked for.
        ticket_model: of the ticket that vouched for the key in the key's place; such a request may ask no other model.
    """

    key: ClientKey | None = None
    ticket_model: str = ""

    @property
    def key_id(self) -> str:
        """The id of its key; "" without one."""
        return "" if self.key is None else self.key.key_id

    def may_ask(self, model: str) -> bool:
        """Whether it may ask a model, named in any way: `chat`, `chat:canary`, `chat@1.2.0`."""
        name = bare_name(model)
        in_scope = self.key is None or self.key.may_ask(name)
        return in_scope and (not self.ticket_model or bare_name(self.ticket_model) == name)

    def check_model(self, model: str) -> None:
        """Refuse a model that this caller may not ask. Raises ModelOutOfScopeError."""
        if not self.may_ask(model):
            raise ModelOutOfScopeError(
                f"the key {self.key_id} may not ask {bare_name(model)[:80]!r}; it may ask "
                f"{bare_name(self.ticket_model) or ', '.join(self.key.models if self.key else ())}",
                param="model",
            )


ANYBODY: Final = Caller()


class Gate:
    """Lets requests in by their keys.

    Args:
        max_age_s: how old the list of keys may be; 0 is any age.
    """

    def __init__(self, *, max_age_s: float = 0.0) -> None:
        self._max_age_s = max_age_s
        self._keys: Mapping[str, ClientKey] = {}
        self._numbers: list[int] = []
        self._records = [_NOBODY]
        self._read_unix_s: float | None = None
        self._buckets: dict[str, tuple[float, float]] = {}
        self._running: Counter[str] = Counter()

    @property
    def keys(self) -> Mapping[str, ClientKey]:
        """The list as it is known, by id."""
        return self._keys

    def learn(self, keys: Mapping[str, ClientKey], *, read_unix_s: float) -> None:
        """Take in the list as it was true at a time; what is at work goes on."""
        self._keys = keys
        in_order = sorted(keys)
        self._numbers = [_number(key_id) for key_id in in_order]
        self._records = [_NOBODY, *(keys[key_id] for key_id in in_order)]
        self._read_unix_s = read_unix_s
        self._buckets = {key_id: bucket for key_id, bucket in self._buckets.items() if key_id in keys}

    def age_s(self, now_unix_s: float) -> float | None:
        """How old the list is; None when it was never read."""
        return None if self._read_unix_s is None else max(0.0, now_unix_s - self._read_unix_s)

    def problem(self, now_unix_s: float) -> str:
        """Why nobody is let in now; "" when keys are looked at."""
        age_s = self.age_s(now_unix_s)
        if age_s is None:
            return "the list of client keys was never read"
        if self._max_age_s and age_s > self._max_age_s:
            return f"the list of client keys is {age_s:.0f} s old, and may be {self._max_age_s:.0f} s (max_key_age_s)"
        return ""

    def prove(self, shown: str, now_unix_s: float) -> Caller:
        """Whose key an `Authorization` header shows.

        Raises:
            ClientKeysUnknownError: the list of keys is not known, or too old.
            ApiKeyInvalidError: it shows none that lets in.
        """
        self._require_list(now_unix_s)
        if not shown:
            raise ApiKeyInvalidError(f"this needs a client key: {_HOW}")
        parsed = None
        if len(shown) <= _HEADER_LIMIT and shown[: len(_SCHEME)].lower() == _SCHEME:
            parsed = parse_token(shown[len(_SCHEME) :].strip(" "))
        if parsed is None:
            raise ApiKeyInvalidError(f"what the Authorization header holds is no client key: {_HOW}")
        key_id, secret = parsed
        # Odd, so that it is never equal to a number in the list: even a branch foretold wrongly takes time.
        known = self._records[bisect_right(self._numbers, _number(key_id) + 1)]
        same_id = hmac.compare_digest(known.key_id, key_id)
        if not _has_secret(known, sha256_of(secret), now_unix_s) & same_id:
            raise ApiKeyInvalidError(
                "there is no client key of this id with this secret, or it has been replaced"
            )
        return Caller(_open(known, now_unix_s))

    def vouched(self, key_id: str, model: str, now_unix_s: float) -> Caller:
        """The caller whose key an origin has checked, as the believed ticket of a request says.

        Raises:
            ClientKeysUnknownError: the list of keys is not known, or too old.
            ApiKeyInvalidError: the key does not let in any more.
        """
        self._require_list(now_unix_s)
        known = self._keys.get(key_id)
        if known is None:
            raise ApiKeyInvalidError(f"the key of this request's ticket is not known here: {_HOW}")
        return Caller(_open(known, now_unix_s), ticket_model=model)

    def enter(self, caller: Caller, now_s: float) -> None:
        """Count a request in; `leave` must follow when it has ended.

        Raises:
            KeyRateError: it comes too soon; `retry_after_s` says when the next one may come.
            KeyBusyError: as many requests of this key are at work as may be.
        """
        key = caller.key
        if key is None:
            return
        if key.concurrent_count and self._running[key.key_id] >= key.concurrent_count:
            raise KeyBusyError(
                f"{key.concurrent_count} requests of the key {key.key_id} are at work here, as many as may be"
            )
        if key.rate_per_h:
            self._take(key, now_s)
        self._running[key.key_id] += 1

    def leave(self, caller: Caller) -> None:
        """Count a request out that was let in."""
        if caller.key is None:
            return
        self._running[caller.key_id] -= 1
        if self._running[caller.key_id] <= 0:
            del self._running[caller.key_id]

    def _take(self, key: ClientKey, now_s: float) -> None:
        rate_per_s = key.rate_per_h / 3600
        depth = max(1.0, rate_per_s)
        level, at_s = self._buckets.get(key.key_id, (depth, now_s))
        level = min(depth, level + max(0.0, now_s - at_s) * rate_per_s)
        if level < 1.0 - 1e-9:
            self._buckets[key.key_id] = level, now_s
            wait_s = (1.0 - level) / rate_per_s
            raise KeyRateError(
                f"the key {key.key_id} may send {rate_per_s:g} requests a second here; the next one in {wait_s:.2f} s",
                retry_after_s=wait_s,
            )
        self._buckets[key.key_id] = level - 1.0, now_s

    def _require_list(self, now_unix_s: float) -> None:
        problem = self.problem(now_unix_s)
        if problem:
            raise ClientKeysUnknownError(f"no key can be checked here: {problem}", retry_after_s=1.0)


def _number(key_id: str) -> int:
    return int(key_id, 16) * 2


def _has_secret(key: ClientKey, shown_sha256: str, now_unix_s: float) -> bool:
    """Whether one of a key's secrets has this hash and has not ended; every one is compared, whatever matches."""
    found = 0
    for secret in key.secrets:
        alive = secret.expires_unix_s is None or now_unix_s < secret.expires_unix_s
        found |= hmac.compare_digest(secret.sha256, shown_sha256) & alive
    return bool(found)


def _open(key: ClientKey, now_unix_s: float) -> ClientKey:
    state = key.state(now_unix_s)
    if state != "open":
        raise ApiKeyInvalidError(
            f"the client key {key.key_id} is {state}; ask whoever gave it to you for another"
        )
    return key
