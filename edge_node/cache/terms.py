"""What HTTP says of a kept answer: the request's Cache-Control, validators, and the words of the reply.

RFC 9111 (caching), RFC 9110 section 13.1.2 (If-None-Match), RFC 9211 (Cache-Status). A POST is not cacheable by
strangers unless it says so; this node is the origin of the answers and keeps its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CacheState = Literal["hit", "miss", "coalesced", "bypass"]

STORED_CONTROL = "private, no-cache"
"""For answers that would come out the same again: a client may keep one, and asks with its ETag first, since the
release behind a name may change at any moment."""
UNSTORED_CONTROL = "no-store"

_AGE_LIMIT_S = 2**31  # RFC 9111, 1.2.2
_STATUS_NAME = "edgeward"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request allows.

    Attributes:
        store: the answer may be kept, and shared with those who ask the same.
        max_age_s: how old a kept answer may be; None is any age, 0 asks for a new one.
        only_kept: answer from what is kept or not at all.
    """

    store: bool = True
    max_age_s: float | None = None
    only_kept: bool = False


ANY_TERMS = Terms()


def request_terms(cache_control: str | None) -> Terms:
    """The terms of a request's Cache-Control; unknown directives are ignored, as RFC 9111 section 5.2.3 asks."""
    if not cache_control:
        return ANY_TERMS
    store, only_kept = True, False
    max_age_s: float | None = None
    for text in cache_control.split(","):
        name, _, argument = text.strip().lower().partition("=")
        if name == "no-store":
            store = False
        elif name == "no-cache":
            max_age_s = 0.0
        elif name == "max-age":
            seconds = argument.strip('"')
            # An age that cannot be read is taken as 0: too new an answer harms nobody (RFC 9111, 4.2.1).
            age_s = min(int(seconds), _AGE_LIMIT_S) if seconds.isascii() and seconds.isdigit() else 0
            max_age_s = age_s if max_age_s is None else min(max_age_s, age_s)
        elif name == "only-if-cached":
            only_kept = True
    return Terms(store, max_age_s, only_kept)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether an If-None-Match names this entity tag, compared weakly."""
    if not if_none_match:
        return False
    if if_none_match.strip() == "*":
        return True
    return any(tag.strip().removeprefix("W/") == etag for tag in if_none_match.split(","))


def cache_status(state: CacheState, *, validated_only: bool = False) -> str:
    """The Cache-Status of an answer; `validated_only` when a kept one was not allowed by the request."""
    if state == "hit":
        return f"{_STATUS_NAME}; hit"
    if state == "coalesced":
        return f"{_STATUS_NAME}; fwd=miss; collapsed"
    if state == "bypass":
        return f"{_STATUS_NAME}; fwd=bypass"
    return f"{_STATUS_NAME}; fwd={'request' if validated_only else 'miss'}"
