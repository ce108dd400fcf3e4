"""A refusal on its way over HTTP: the class that a code belongs to, and the headers that say when to come back."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


def kind_of_code(code: str) -> type[EdgewardError] | None:
    """The error class that states this code.

    Only classes that this process has imported are known: whoever calls this imports the `errors` modules whose
    codes can come. They are looked at anew each time, so that a module imported later counts too.
    """
    waiting = EdgewardError.__subclasses__()  # the root's own code says nothing
    while waiting:
        kind = waiting.pop()
        # A subclass that inherits its code must not stand for the class that defines it.
        if vars(kind).get("code") == code:
            return kind
        waiting += kind.__subclasses__()
    return None


def retry_headers(retry_after_s: float | None) -> dict[str, str]:
    """`Retry-After` and, finer, `retry-after-ms`; both at least 1, since 0 would read as no answer."""
    if retry_after_s is None:
        return {}
    return {
        "Retry-After": str(max(1, math.ceil(retry_after_s))),
        "retry-after-ms": str(max(1, math.ceil(retry_after_s * 1000))),
    }


def retry_after_in(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3; dates are ignored).

    Args:
        headers: with names that are compared without case, as aiohttp's are.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if _NUMBER.fullmatch(text):
            return float(text) * unit_s
    return None
