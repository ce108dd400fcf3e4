"""Domain names and name servers as settings write them, checked."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from registry.errors import ConfigError

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NAME_LIMIT_BYTES = (
    180  # of the 255 that a name may have, so that a model's and a channel's label fit in front
)


@dataclass(frozen=True, slots=True)
class NameServer:
    """A host that answers for the zone; `addresses` are its glue, empty where another zone has them."""

    host: str
    addresses: tuple[str, ...] = ()


def check_host_name(text: str, key: str) -> str:
    """A host name in small letters, without the last dot.

    Args:
        text: what the setting says.
        key: the setting, for the message.

    Raises:
        ConfigError: not a host name, or one too long to have names below it.
    """
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _NAME_LIMIT_BYTES or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError(
            f"{key}: {text[:80]!r} is not a domain name: write letters, digits and '-' with dots between, "
            f"at most {_NAME_LIMIT_BYTES} characters (such as route.example.org)"
        )
    return name


def name_servers_of(zone: str, texts: tuple[str, ...], key: str = "origin.dns_ns") -> tuple[NameServer, ...]:
    """The name servers that a setting lists as `HOST` or `HOST=ADDRESS+ADDRESS`.

    Raises:
        ConfigError: no name or address, or a host inside the zone without the addresses that only this zone can tell.
    """
    return tuple(_name_server(zone, text, key) for text in texts)


def _name_server(zone: str, text: str, key: str) -> NameServer:
    host, _, listed = text.partition("=")
    name = check_host_name(host.strip(), key)
    addresses = []
    for part in filter(None, (part.strip() for part in listed.split("+"))):
        try:
            addresses.append(str(ipaddress.ip_address(part)))
        except ValueError as error:
            raise ConfigError(
                f"{key}: {part[:80]!r} is not an address; write {name}=203.0.113.1+2001:db8::1"
            ) from error
    inside = name.endswith(f".{zone}")
    if name == zone or (inside and name.count(".") != zone.count(".") + 1):
        raise ConfigError(f"{key}: {name} must stand directly below {zone}, or outside it")
    if inside and not addresses:
        raise ConfigError(
            f"{key}: {name} lies in the zone {zone}, which must tell its address: write {name}=203.0.113.1"
        )
    if not inside and addresses:
        raise ConfigError(
            f"{key}: {name} lies outside the zone {zone}, and its addresses are told there: write {name} alone"
        )
    return NameServer(name, tuple(addresses))
