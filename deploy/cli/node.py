"""`edgeward node`: an edge node's process, and its membership of a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.machine import add_machine_arguments
from deploy.cli.terminal import add_json_argument

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Run an edge node, or make it a member of a fleet. Settings: [node].

  serve       report to the origin, fetch and check the releases of its channel, and answer OpenAI requests. Logs go to
              standard error; SIGTERM and Ctrl-C let running answers finish and stop it. With --join it joins first,
              unless it is in already
  join TOKEN  make a key here and get a certificate for it, at the origin's port for nodes; an instance on AWS joins by
              its role with `join aws-iam --ca-pin PIN`
  status      show the certificate, and how the running node is

and, as root, this machine as a node (deploy/README.md):
  install     what install.sh runs: put program, units and settings in place, start the node, or upgrade the one that
              runs; a release that is not well after 60 s is taken back
  certificate on AWS: read the certificate for clients and its key out of the Parameter Store, by the instance's role,
              into /etc/edgeward/tls; a running node takes them over
  uninstall   remove all of it but settings and models; --purge those too
  drain       have no client sent here, also after restarts, and wait until nothing runs
  uncordon    take part again
  doctor      look for what is wrong, and say what to do
  rejoin TOKEN  join anew, with a new key, and start the node again"""

EXAMPLES = """\
  edgeward node serve
  edgeward node join ejt1.… --origin https://origin.example:7743
  edgeward node join aws-iam --ca-pin PIN --origin https://origin.example:7743
  edgeward node serve --origin http://origin.example:7700 --place frankfurt --trusted-root ./root.json
  edgeward node drain && apt-get upgrade && edgeward node uncordon
  edgeward node serve --port 7711 --data-dir ./node-b --follows 'chat,team/*' --channel canary"""

_MACHINE_ACTIONS = ("install", "certificate", "uninstall", "drain", "uncordon", "doctor", "rejoin")
_FLAGS = (
    "node_id",
    "host",
    "port",
    "public_url",
    "insecure",
    "origin",
    "label",
    "follows",
    "channel",
    "threads_count",
    "trust_first_root",
    "variant",
    "memory_limit_bytes",
    "join_token",
    "tls_cert_file",
    "tls_key_file",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=("serve", "join", "status", *_MACHINE_ACTIONS))
    _add_joining_arguments(parser)
    parser.add_argument("--tls-cert-file", metavar="FILE", help="serve: the certificate for clients, PEM")
    parser.add_argument("--tls-key-file", metavar="FILE", help="serve: its key, PEM")
    add_json_argument(parser)
    add_machine_arguments(parser)
    parser.add_argument(
        "--node-id", metavar="ID", help="the node's name in the fleet (default: made once and kept)"
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (7710); 0 takes any free one")
    parser.add_argument("--public-url", metavar="URL", help="where clients reach the node")
    parser.add_argument(
        "--insecure", action="store_true", default=None, help="allow an address that other machines can reach"
    )
    parser.add_argument("--origin", metavar="URL", help="the origin (http://127.0.0.1:7700)")
    parser.add_argument(
        "--place", metavar="PLACE", help="where the node stands: LAT,LON in degrees, or a city"
    )
    parser.add_argument("--label", help="a name for people, such as Frankfurt")
    parser.add_argument("--data-dir", metavar="DIR", help="the node's own directory")
    parser.add_argument("--follows", metavar="PATTERNS", help="models to hold, comma-separated patterns (*)")
    parser.add_argument("--channel", help="the channel to take releases from (stable)")
    parser.add_argument(
        "--trusted-root",
        metavar="FILE",
        help="the root.json to check signatures against (DATA_DIR/root.json)",
    )
    parser.add_argument(
        "--trust-first-root",
        action="store_true",
        default=None,
        help="with no such file, take the root that the origin shows first, for good",
    )
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help="the variant to take of each release that has it (auto: the best that fits)",
    )
    parser.add_argument(
        "--memory-limit-bytes",
        type=int,
        metavar="N",
        help="what one model may take (0: nine tenths of the machine)",
    )
    parser.add_argument("--threads-count", type=int, metavar="N", help="compute threads of each engine (1)")


def _add_joining_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("token", metavar="TOKEN", nargs="?", help="join, rejoin: the token, or aws-iam")
    parser.add_argument(
        "--again", action="store_true", help="join: anew and with a new key, though the node is in already"
    )
    parser.add_argument(
        "--join",
        dest="join_token",
        metavar="TOKEN",
        help="serve: join the fleet first, unless the node is in",
    )
    parser.add_argument(
        "--ca-pin",
        metavar="PIN",
        help="the pin of the fleet's authority (`edgeward token pin`): needed with aws-iam; a token must have it",
    )


def run(args: argparse.Namespace) -> int:
    """Do it; serving takes until it is told to stop. Returns the exit code."""
    from deploy.cli.connect import config_file
    from deploy.cli.places import find_place
    from edge_node.config import NodeConfig
    from registry.errors import InputInvalidError
    from registry.log import configure_logging
    from registry.settings import load_settings

    if args.token is not None and args.action not in {"join", "rejoin"}:
        raise InputInvalidError(
            f"`edgeward node {args.action}` takes no token; `edgeward node join TOKEN` does"
        )
    for name in ("token", "join_token"):
        setattr(args, name, _pinned(getattr(args, name), args.ca_pin))
    serves = args.action == "serve"
    configure_logging(service="node", level=args.log_level or ("info" if serves else "warning"))
    place = find_place(args.place) if args.place else None
    flags = {name: getattr(args, name) for name in _FLAGS} | {
        "data_dir": args.data_dir,
        "trusted_root": args.trusted_root,
        "place": f"{place.lat},{place.lon}" if place else None,
    }
    config = load_settings(NodeConfig, "node", file=config_file(args), flags=flags)
    if args.action in _MACHINE_ACTIONS:
        from deploy.cli import machine

        code: int = getattr(machine, args.action)(args, config)
        return code
    if not serves:
        from deploy.cli.membership import join_fleet, show_status

        return (join_fleet if args.action == "join" else show_status)(args, config)
    from edge_node.process import run_node

    run_node(config)
    return 0


def _pinned(way_in: str | None, pin: str | None) -> str | None:
    """How the node joins, with the pin that was said apart from it."""
    from registry.errors import InputInvalidError

    if not way_in or not pin:
        return way_in
    if way_in == "aws-iam":
        return f"aws-iam.{pin}"
    if way_in.rpartition(".")[2] != pin:
        raise InputInvalidError("the token is of another fleet than --ca-pin says", param="ca_pin")
    return way_in
