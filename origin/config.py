"""OriginConfig: every setting of an origin, the section `[origin]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # the settings loader reads the real types

from registry.errors import ConfigError
from registry.listening import PORT_LIMIT, check_listener

_MIB = 2**20


def _default_data_dir() -> Path:
    return Path("~/.local/share/edgeward/origin").expanduser()


@dataclass(frozen=True, slots=True)
class OriginConfig:
    """How an origin listens, how often it looks, and what it accepts.

    Attributes:
        public_url: where nodes, clients and other origins reach this one; empty says `http(s)://host:port`.
        insecure: allow a host that other machines can reach without TLS, and hear nodes that are not enrolled.
        tls_cert_file: the certificate that clients see, PEM, with those between it and its authority; None speaks HTTP.
        tls_key_file: its key, PEM, without a passphrase; both are read again when they change.
        nodes_host: where nodes with certificates are heard, over TLS 1.3; empty is `host`.
        nodes_port: its port; 0 takes any free one.
        nodes_public_url: where nodes with certificates reach this origin; empty says `https://nodes_host:nodes_port`.
        heartbeat_s: how often nodes are told to report; 2 missed make a node suspect, 3 make it down.
        catalog_refresh_s: how often releases and channels are read from the object store.
        route_ttl_s: how long a client may use a ranked list before it asks again.
        forget_node_after_s: how long a silent node stays listed as down.
        body_limit_bytes: the largest body of a request that is sent on, before and after decompression.
        blob_read_bytes: the largest single read from the object store, and so the memory a download holds.
        data_dir: the origin's own directory: what it has verified of the signed metadata.
        keys_dir: a directory with the online key (and `root.json`), to renew snapshot and timestamp with; None leaves
            that to `edgeward timestamp renew`.
        stop_grace_s: how long running answers may take to finish when the origin is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 7700
    insecure: bool = False
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    public_url: str = ""
    nodes_host: str = ""
    nodes_port: int = 7743
    nodes_public_url: str = ""
    heartbeat_s: float = 1.0
    catalog_refresh_s: float = 2.0
    route_ttl_s: float = 60.0
    forget_node_after_s: float = 86_400.0
    body_limit_bytes: int = 32 * _MIB
    blob_read_bytes: int = 8 * _MIB
    data_dir: Path = field(default_factory=_default_data_dir)
    keys_dir: Path | None = None
    stop_grace_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises ConfigError."""
        check_listener("origin", self)
        if not 0 <= self.nodes_port <= PORT_LIMIT:
            raise ConfigError(
                f"origin.nodes_port = {self.nodes_port}: a port is a number from 0 to {PORT_LIMIT}"
            )
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"origin.public_url = {self.public_url[:120]!r} is not a URL (for example https://origin.example)"
            )
        if self.nodes_public_url and not self.nodes_public_url.startswith("https://"):
            raise ConfigError(
                f"origin.nodes_public_url = {self.nodes_public_url[:120]!r} is not the URL of a door for nodes "
                "(for example https://origin.example:7743)"
            )
        for key in ("heartbeat_s", "catalog_refresh_s", "route_ttl_s", "forget_node_after_s"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"origin.{key} = {getattr(self, key)}: must be more than 0")
        if self.stop_grace_s < 0:
            raise ConfigError(f"origin.stop_grace_s = {self.stop_grace_s}: must be 0 or more")
        for key in ("body_limit_bytes", "blob_read_bytes"):
            if getattr(self, key) < 1024:
                raise ConfigError(f"origin.{key} = {getattr(self, key)}: must be at least 1024")
