"""Addresses of a node that the origin may answer DNS with: those that were stated, else the URL's own."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMIT_COUNT = 8


def check_public_addresses(texts: Sequence[str]) -> None:
    """Refuse what no client could connect to.

    Raises:
        ConfigError: not an IPv4 or IPv6 address, one that stands for no single machine, or too many.
    """
    if len(texts) > _LIMIT_COUNT:
        raise ConfigError(
            f"node.public_addresses: {len(texts)} addresses, at most {_LIMIT_COUNT} can be told"
        )
    for text in texts:
        try:
            address = ipaddress.ip_address(text)
        except ValueError as error:
            raise ConfigError(
                f"node.public_addresses: {text[:80]!r} is not an address (write 203.0.113.7, 2001:db8::7)"
            ) from error
        if address.is_unspecified or address.is_multicast or "%" in text:
            raise ConfigError(f"node.public_addresses: {text} is not the address of one machine")


def public_addresses(stated: Sequence[str], url: str) -> tuple[str, ...]:
    """The stated addresses in their usual form, else the URL's host where it is an address itself."""
    if stated:
        return tuple(str(ipaddress.ip_address(text)) for text in stated)
    try:
        return (str(ipaddress.ip_address(urlsplit(url).hostname or "")),)
    except ValueError:  # a name: what it stands for is its own zone's to tell
        return ()
