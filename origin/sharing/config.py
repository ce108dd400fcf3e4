"""SharingConfig: how an origin reaches the others of its fleet, the section `[sharing]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # the settings loader reads the real types
from urllib.parse import urlsplit

from registry.errors import ConfigError

_FLEET = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SCHEMES = {"nats", "tls"}


@dataclass(frozen=True, slots=True)
class SharingConfig:
    """Where NATS is and how to enter; without servers an origin is alone.

    Attributes:
        servers: URLs of the servers of one NATS cluster, `nats://HOST:PORT` or `tls://HOST:PORT`; empty is alone.
        fleet: the fleet's name: origins of another name on the same servers are not heard.
        creds: a credentials file (JWT and key) as `nsc` makes it.
        token: the token that the servers ask for.
        tls_ca: certificates (PEM) to trust beside the machine's own; TLS is then asked of every server.
        replicas_count: on how many servers of the cluster last-known states are kept.
    """

    servers: tuple[str, ...] = ()
    fleet: str = "fleet"
    creds: Path | None = None
    token: str = ""
    tls_ca: Path | None = None
    replicas_count: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises ConfigError."""
        for server in self.servers:
            if not _is_server(server):
                raise ConfigError(
                    f"sharing.servers: {shown(server)!r} is not the URL of a NATS server "
                    "(for example nats://10.0.0.5:4222 or tls://nats.example:4222)"
                )
        if not _FLEET.fullmatch(self.fleet):
            raise ConfigError(
                f"sharing.fleet = {self.fleet[:40]!r}: use letters, digits, '_' and '-', at most 32"
            )
        for key in ("creds", "tls_ca"):
            path: Path | None = getattr(self, key)
            if path is not None and not path.is_file():
                raise ConfigError(f"sharing.{key} names {path}, and there is no such file")
        if not 1 <= self.replicas_count <= 5:
            raise ConfigError(f"sharing.replicas_count = {self.replicas_count}: NATS keeps 1 to 5 replicas")


def shown(server: str) -> str:
    """A server's URL without what stands before `@`: that may be a password."""
    scheme, separator, rest = server[:200].partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _is_server(server: str) -> bool:
    try:
        parts = urlsplit(server)
        return parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False
