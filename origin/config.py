"""OriginConfig: every setting of an origin, the section `[origin]`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path  # the settings loader reads the real types
from urllib.parse import urlsplit

from origin.dns_settings import check_host_name, name_servers_of
from registry.errors import ConfigError
from registry.listening import PORT_LIMIT, check_listener, is_loopback

_MIB = 2**20
_DNS_RANGES = {
    "dns_port": (0, 65_535),
    "dns_node_port": (1, 65_535),
    "dns_ttl_s": (1, 86_400),
    "dns_nodes_count": (1, 8),
    "dns_keep_s": (0, 30 * 86_400),
    "dns_limit_per_s": (0, 10**9),
}


def _default_data_dir() -> Path:
    return Path("~/.local/share/edgeward/origin").expanduser()


@dataclass(frozen=True, slots=True)
class OriginConfig:
    """How an origin listens, how often it looks, and what it accepts.

    Attributes:
        public_url: where nodes, clients and other origins reach this one; empty says `http(s)://host:port`.
        insecure: allow a host that other machines can reach without TLS, and hear nodes that are not enrolled.
        require_keys: let clients in by a client key alone (`edgeward clients`); keys travel in the clear without TLS.
        max_key_age_s: how old the list of client keys may be before nobody is let in; 0 is any age.
        tls_cert_file: the certificate that clients see, PEM, with those between it and its authority; None speaks HTTP.
        tls_key_file: its key, PEM, without a passphrase; both are read again when they change.
        nodes_host: where nodes with certificates are heard, over TLS 1.3; empty is `host`.
        nodes_port: its port; 0 takes any free one.
        nodes_public_url: where nodes with certificates reach this origin; empty says `https://nodes_host:nodes_port`.
        admitted_aws_roles: ARNs of the roles on AWS whose instances may join without a token (`aws-iam.PIN`).
        aws_sts_url: asked whose proof it is, in place of the STS of the region that the proof names: an endpoint of a
            VPC; empty asks the region's own.
        heartbeat_s: how often nodes are told to report; 2 missed make a node suspect, 3 make it down.
        catalog_refresh_s: how often releases and channels are read from the object store.
        route_ttl_s: how long a client may use a ranked list before it asks again.
        forget_node_after_s: how long a silent node stays listed as down.
        body_limit_bytes: the largest body of a request that is sent on, before and after decompression.
        blob_read_bytes: the largest single read from the object store, and so the memory a download holds.
        data_dir: the origin's own directory: what it has verified of the signed metadata.
        keys_dir: a directory with the online key (and `root.json`), to renew snapshot and timestamp with; None leaves
            that to `edgeward timestamp renew`.
        bundles_dir: a directory with `install.sh` and bundles (`edgeward bundle build`), for machines that become
            nodes; None serves none.
        geo_file: a database of addresses (.mmdb), for the places of clients; None is `places.mmdb` in `data_dir`.
        geo_url: where `edgeward geo fetch` gets it; `{month}` stands for the year and month, such as 2026-11.
        as_file: another one, for their autonomous systems.
        otlp_endpoint: where spans of requests that belong to a trace go (OTLP over HTTP); empty makes none. Needs the
            extra `otel`.
        trusted_proxies: networks of proxies in front of the origin, whose `X-Forwarded-For` is believed.
        dns_zone: the domain that this origin answers DNS for; empty answers none.
        dns_hosts: addresses to answer DNS on.
        dns_port: for UDP and TCP; a delegation always leads to 53. 0 takes any free one.
        dns_ns: the zone's name servers, `HOST` or, inside the zone, `HOST=ADDRESS+ADDRESS`; the first is the primary.
        dns_ttl_s: how long resolvers may keep an answer or a denial.
        dns_nodes_count: nodes in one answer at most.
        dns_node_port: the port that clients write behind a name: nodes on others are not answered with addresses.
        dns_keep_s: how long nodes that fell silent are still answered with when no other is left.
        dns_limit_per_s: answers a second over UDP to one /24 or /56; 0 is no limit.
        connection_idle_s: how long a connection may go without a whole request's head, be it silent or slow.
        stop_grace_s: how long running answers may take to finish when the origin is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 7700
    insecure: bool = False
    require_keys: bool = False
    max_key_age_s: float = 0.0
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    public_url: str = ""
    nodes_host: str = ""
    nodes_port: int = 7743
    nodes_public_url: str = ""
    admitted_aws_roles: tuple[str, ...] = ()
    aws_sts_url: str = ""
    heartbeat_s: float = 1.0
    catalog_refresh_s: float = 2.0
    route_ttl_s: float = 60.0
    forget_node_after_s: float = 86_400.0
    body_limit_bytes: int = 32 * _MIB
    blob_read_bytes: int = 8 * _MIB
    data_dir: Path = field(default_factory=_default_data_dir)
    keys_dir: Path | None = None
    dns_zone: str = ""
    dns_hosts: tuple[str, ...] = ("127.0.0.1",)
    dns_port: int = 53
    dns_ns: tuple[str, ...] = ()
    dns_ttl_s: int = 20
    dns_nodes_count: int = 3
    dns_node_port: int = 7710
    dns_keep_s: float = 3600.0
    dns_limit_per_s: int = 1000
    connection_idle_s: float = 75.0
    stop_grace_s: float = 10.0
    bundles_dir: Path | None = None
    geo_file: Path | None = None
    geo_url: str = "https://download.db-ip.com/free/dbip-city-lite-{month}.mmdb.gz"
    as_file: Path | None = None
    otlp_endpoint: str = ""
    trusted_proxies: tuple[str, ...] = ()

    @property
    def geo_database(self) -> Path:
        """The database of the places of addresses, whether it is there or not."""
        return self.data_dir / "places.mmdb" if self.geo_file is None else self.geo_file

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises ConfigError."""
        check_listener("origin", self)
        if not 0 <= self.nodes_port <= PORT_LIMIT:
            raise ConfigError(
                f"origin.nodes_port = {self.nodes_port}: a port is a number from 0 to {PORT_LIMIT}"
            )
        self._check_urls()
        self._check_sts_url()
        for key in (
            "heartbeat_s", "catalog_refresh_s", "route_ttl_s", "forget_node_after_s", "connection_idle_s"
        ):  # fmt: skip
            if not getattr(self, key) > 0:
                raise ConfigError(f"origin.{key} = {getattr(self, key)}: must be more than 0")
        self._check_dns()
        for key in ("stop_grace_s", "max_key_age_s"):
            if not getattr(self, key) >= 0:  # a NaN fails too
                raise ConfigError(f"origin.{key} = {getattr(self, key)}: must be 0 or more")
        for key in ("body_limit_bytes", "blob_read_bytes"):
            if getattr(self, key) < 1024:
                raise ConfigError(f"origin.{key} = {getattr(self, key)}: must be at least 1024")

    def _check_urls(self) -> None:
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"origin.public_url = {self.public_url[:120]!r} is not a URL (for example https://origin.example)"
            )
        if self.nodes_public_url and not self.nodes_public_url.startswith("https://"):
            raise ConfigError(
                f"origin.nodes_public_url = {self.nodes_public_url[:120]!r} is not the URL of a door for nodes "
                "(for example https://origin.example:7743)"
            )
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise ConfigError(
                f"origin.otlp_endpoint = {self.otlp_endpoint[:120]!r} is not a URL (for example "
                "http://127.0.0.1:4318/v1/traces)"
            )

    def _check_sts_url(self) -> None:
        url = urlsplit(self.aws_sts_url)
        local = url.scheme == "http" and is_loopback(url.hostname or "")
        if self.aws_sts_url and not ((url.scheme == "https" and url.hostname) or local):
            raise ConfigError(
                f"origin.aws_sts_url = {self.aws_sts_url[:120]!r} is not the https:// URL of an endpoint of STS"
            )

    def _check_dns(self) -> None:
        for key, (least, most) in _DNS_RANGES.items():
            value = getattr(self, key)
            if not least <= value <= most:  # a NaN fails too
                raise ConfigError(f"origin.{key} = {value}: must be from {least} to {most}")
        for host in self.dns_hosts:
            try:
                ipaddress.ip_address(host)
            except ValueError as error:
                raise ConfigError(f"origin.dns_hosts: {host[:80]!r} is not an address") from error
        if not self.dns_zone:
            return
        zone = check_host_name(self.dns_zone, "origin.dns_zone")
        if not self.dns_hosts:
            raise ConfigError("origin.dns_hosts is empty: say on which addresses to answer for the zone")
        if not self.dns_ns:
            raise ConfigError(
                f"origin.dns_ns is empty: name the hosts that answer for {zone}, to which the zone above delegates "
                f"it (such as ns1.{zone}=203.0.113.1)"
            )
        name_servers_of(zone, self.dns_ns)
