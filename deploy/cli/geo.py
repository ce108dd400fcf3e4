"""`edgeward geo fetch|show`: the database that says where addresses are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.terminal import add_json_argument, dim, show_json

if TYPE_CHECKING:
    import argparse

    from origin.config import OriginConfig

DESCRIPTION = """\
`fetch` gets a database of the places of addresses, by default DB-IP's free one of this month (about 60 MB, in gzip),
checks it, and puts it where the origin looks; an origin that runs takes it over within seconds. `show ADDRESS` says
what the database in place has on an address. Without any database clients are placed by what they say and by round
trips."""

EXAMPLES = """\
  edgeward geo fetch
  edgeward geo fetch --url https://mirror.example/city.mmdb
  edgeward geo show 198.51.100.7"""

_ATTRIBUTION = (
    "IP geolocation by DB-IP (https://db-ip.com), CC-BY 4.0: pages that show places must link to it."
)
_DB_IP = "db-ip.com"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=("fetch", "show"), help="get a database; look an address up")
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help="for show: IPv4 or IPv6")
    parser.add_argument("--url", metavar="URL", help="for fetch: where from (origin.geo_url)")
    parser.add_argument("--file", metavar="FILE", help="the database (origin.geo_file)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch or show; returns the exit code."""
    from deploy.cli.connect import config_file
    from origin.config import OriginConfig
    from registry.errors import InputInvalidError
    from registry.settings import load_settings

    if (args.action == "show") != (args.address is not None):
        raise InputInvalidError(
            "write `edgeward geo fetch`, or `edgeward geo show ADDRESS`, such as 198.51.100.7",
            param="address",
        )
    flags = {"geo_file": args.file, "geo_url": args.url}
    config = load_settings(OriginConfig, "origin", file=config_file(args), flags=flags)
    return _fetch(args, config) if args.action == "fetch" else _show(args, config)


def _fetch(args: argparse.Namespace, config: OriginConfig) -> int:
    from datetime import UTC, datetime

    from deploy.sizes import human_bytes
    from origin.geo_download import download_database

    url = config.geo_url.replace("{month}", datetime.now(UTC).strftime("%Y-%m"))
    kind, size_bytes = download_database(url, config.geo_database)
    if args.json:
        show_json({"url": url, "file": str(config.geo_database), "kind": kind, "size_bytes": size_bytes})
    else:
        print(f"{kind}, {human_bytes(size_bytes)}, is in {config.geo_database}")
    if _DB_IP in url:
        dim(_ATTRIBUTION)
    return 0


def _show(args: argparse.Namespace, config: OriginConfig) -> int:
    from origin.geo_files import GeoFiles, open_database
    from registry.addresses import network_of, read_address
    from registry.errors import InputInvalidError

    address = read_address(args.address)
    if address is None:
        raise InputInvalidError(f"{args.address[:60]!r} is not an IPv4 or IPv6 address", param="address")
    open_database(config.geo_database).close()  # says why, where it cannot
    files = GeoFiles([path for path in (config.geo_database, config.as_file) if path is not None])
    files.refresh()
    record = files.look_up(address)
    files.close()
    if args.json:
        show_json({"address": str(address), "network": network_of(address), "record": record})
        return 0
    where = "an unknown place" if record.place is None else f"{record.place.lat:.4f},{record.place.lon:.4f}"
    parts = [f"{address} is at {where}"]
    if record.region:
        parts.append(f"in {record.region}")
    if record.as_number is not None:
        parts.append(f"in AS{record.as_number}")
    if record.scope_bits is not None:
        parts.append(f"as is the whole /{record.scope_bits}")
    print(", ".join(parts))
    return 0
