"""What a request's headers say of its caller: whose it is, how long it waits; and what an answer says of caches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_node.cache.terms import STORED_CONTROL, UNSTORED_CONTROL, cache_status
from origin import prefixes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_node.account import Account

TIMEOUT_HEADER = "x-edgeward-timeout-ms"
_SDK_TIMEOUT_HEADERS_S = ("x-stainless-read-timeout", "x-stainless-timeout")
"""What OpenAI's own clients say of their patience, in seconds."""


def client_name(headers: Mapping[str, str]) -> str:
    """A name for whoever holds the key of a request, which does not tell the key; empty without one."""
    return prefixes.client_name(headers.get("Authorization", ""))


def patience_s(headers: Mapping[str, str]) -> float | None:
    """How long the caller waits for the first token; None when it does not say so in a number over 0."""
    own_ms = _positive(headers.get(TIMEOUT_HEADER))
    if own_ms is not None:
        return own_ms / 1000
    for name in _SDK_TIMEOUT_HEADERS_S:
        wait_s = _positive(headers.get(name))
        if wait_s is not None:
            return wait_s
    return None


def cache_headers(account: Account) -> dict[str, str]:
    """What an answer says of where it came from and who may keep it (RFC 9111, RFC 9211)."""
    assert account.cache is not None
    fresh_wanted = account.terms.max_age_s is not None
    headers = {
        "x-edgeward-cache": account.cache,
        "Cache-Status": cache_status(account.cache, validated_only=fresh_wanted),
        "Cache-Control": UNSTORED_CONTROL if account.cache == "bypass" else STORED_CONTROL,
    }
    if account.cache == "hit":
        headers["Age"] = str(int(account.age_s))
    return headers


def _positive(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number < math.inf else None
