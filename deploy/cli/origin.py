"""`edgeward origin serve`: the origin's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Run an origin: it serves metadata and chunks from the object store, keeps the fleet from the nodes' heartbeats,
and ranks nodes for clients. Settings: [origin], [store] and, for several origins over NATS, [sharing]. Logs go to
standard error; SIGTERM and Ctrl-C stop it."""

EXAMPLES = """\
  edgeward origin serve
  edgeward origin serve --port 7800 --endpoint http://127.0.0.1:8333 --bucket edgeward
  edgeward origin serve --dns-zone route.example.org --config edgeward.toml
  EDGEWARD_STORE_ACCESS_KEY=… EDGEWARD_STORE_SECRET_KEY=… edgeward origin serve --config edgeward.toml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=("serve",), help="run in the foreground")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (7700); 0 takes any free one")
    parser.add_argument(
        "--insecure", action="store_true", default=None, help="allow an address that other machines can reach"
    )
    parser.add_argument("--tls-cert-file", metavar="FILE", help="the certificate for clients, PEM")
    parser.add_argument("--tls-key-file", metavar="FILE", help="its key, PEM")
    parser.add_argument(
        "--nodes-host", metavar="HOST", help="where nodes with certificates are heard (--host)"
    )
    parser.add_argument(
        "--nodes-port", type=int, metavar="PORT", help="its port (7743); 0 takes any free one"
    )
    parser.add_argument("--dns-zone", metavar="DOMAIN", help="answer DNS for this domain, too (needs dns_ns)")
    parser.add_argument("--dns-port", type=int, help="port for DNS, UDP and TCP (53)")
    add_store_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit code."""
    from deploy.cli.connect import config_file, store_settings
    from origin.config import OriginConfig
    from origin.daemon import run_origin
    from origin.sharing.config import SharingConfig
    from registry.log import configure_logging
    from registry.settings import load_settings

    configure_logging(service="origin", level=args.log_level or "info")
    names = ("host", "port", "insecure", "tls_cert_file", "tls_key_file", "nodes_host", "nodes_port")
    flags = {name: getattr(args, name) for name in (*names, "dns_zone", "dns_port")}
    config = load_settings(OriginConfig, "origin", file=config_file(args), flags=flags)
    sharing = load_settings(SharingConfig, "sharing", file=config_file(args))
    run_origin(config, store_settings(args), sharing)
    return 0
