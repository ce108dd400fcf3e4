"""OriginConfig: every setting of an origin, the section `[origin]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # the settings loader reads the real types

from registry.errors import ConfigError
from registry.listening import check_listener

_MIB = 2**20


def _default_data_dir() -> Path:
    return Path("~/.local/share/edgeward/origin").expanduser()


@dataclass(frozen=True, slots=True)
class OriginConfig:
    """How an origin listens, how often it looks, and what it accepts.

    Attributes:
        public_url: where nodes, clients and other origins reach this one; empty says `http://host:port`.
        insecure: allow a host that other machines can reach, with neither keys nor TLS.
        heartbeat_s: how often nodes are told to report; 2 missed make a node suspect, 3 make it down.
        catalog_refresh_s: how often releases and channels are read from the object store.
        route_ttl_s: how long a client may use a ranked list before it asks again.
        forget_node_after_s: how long a silent node stays listed as down.
        body_limit_bytes: the largest body of a request that is sent on, before and after decompression.
        blob_read_bytes: the largest single read from the object store, and so the memory a download holds.
        data_dir: the origin's own directory: what it has verified of the signed metadata.
        keys_dir: a directory with the online key (and `root.json`), to renew snapshot and timestamp with; None leaves
            that to `edgeward timestamp renew`.
        geo_file: a database of addresses (.mmdb), for the places of clients; None is `places.mmdb` in `data_dir`.
        geo_url: where `edgeward geo fetch` gets it; `{month}` stands for the year and month, such as 2026-11.
        as_file: another one, for their autonomous systems.
        trusted_proxies: networks of proxies in front of the origin, whose `X-Forwarded-For` is believed.
        stop_grace_s: how long running answers may take to finish when the origin is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 7700
    insecure: bool = False
    public_url: str = ""
    heartbeat_s: float = 1.0
    catalog_refresh_s: float = 2.0
    route_ttl_s: float = 60.0
    forget_node_after_s: float = 86_400.0
    body_limit_bytes: int = 32 * _MIB
    blob_read_bytes: int = 8 * _MIB
    data_dir: Path = field(default_factory=_default_data_dir)
    keys_dir: Path | None = None
    stop_grace_s: float = 10.0
    geo_file: Path | None = None
    geo_url: str = "https://download.db-ip.com/free/dbip-city-lite-{month}.mmdb.gz"
    as_file: Path | None = None
    trusted_proxies: tuple[str, ...] = ()

    @property
    def geo_database(self) -> Path:
        """The database of the places of addresses, whether it is there or not."""
        return self.data_dir / "places.mmdb" if self.geo_file is None else self.geo_file

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises ConfigError."""
        check_listener("origin", self)
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"origin.public_url = {self.public_url[:120]!r} is not a URL (for example https://origin.example)"
            )
        for key in ("heartbeat_s", "catalog_refresh_s", "route_ttl_s", "forget_node_after_s"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"origin.{key} = {getattr(self, key)}: must be more than 0")
        if self.stop_grace_s < 0:
            raise ConfigError(f"origin.stop_grace_s = {self.stop_grace_s}: must be 0 or more")
        for key in ("body_limit_bytes", "blob_read_bytes"):
            if getattr(self, key) < 1024:
                raise ConfigError(f"origin.{key} = {getattr(self, key)}: must be at least 1024")
