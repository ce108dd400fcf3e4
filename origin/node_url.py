"""Which URLs of nodes clients may be sent to."""

from __future__ import annotations

from urllib.parse import urlsplit

from registry.errors import InputInvalidError

_URL_LIMIT = 2048


def check_url(url: str) -> None:
    """Clients are redirected to this URL, so it must be one and nothing else.

    Raises:
        InputInvalidError: it is not.
    """
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.username or parts.password or parts.query or parts.fragment)
            and url.isascii()
            and url.isprintable()
            and " " not in url
            and len(url) <= _URL_LIMIT
        )
    except ValueError:  # a port that is no number, a broken IPv6 address
        sound = False
    if not sound:
        raise InputInvalidError(
            f"{url[:200]!r} is not a URL that clients can be sent to: "
            "http:// or https:// with a host, without user, query and fragment",
            param="url",
        )
