"""`edgeward up`: the whole network on this machine, running until Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Start an object store, an origin and three edge nodes on this machine, publish the sample models the first
time, and stay. A part that ends is started again. Data stay in the directory and are used the next time.
Ctrl-C stops everything."""

EXAMPLES = """\
  edgeward up
  edgeward up --port 9000 --dir ./network
  edgeward up --origins 2             # two origins over NATS: kill one, or NATS, and ask on
  edgeward up --keys                  # as on a network that others reach: clients need a key
  edgeward up --no-samples            # an empty network: publish your own models"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "--port", type=int, default=7700, help="the origin's port; the others follow it (7700)"
    )
    parser.add_argument(
        "--dir", default=".edgeward", metavar="DIR", help="data, logs and settings (.edgeward)"
    )
    parser.add_argument(
        "--origins",
        type=int,
        default=1,
        choices=range(1, 5),
        metavar="COUNT",
        help="how many origins, 1 to 4; several share what they know over NATS (1)",
    )
    parser.add_argument(
        "--keys",
        action="store_true",
        help="let clients in by a key alone; one is made, and these commands use it",
    )
    parser.add_argument("--no-samples", action="store_true", help="publish no sample models")


def run(args: argparse.Namespace) -> int:
    """Stay until stopped; returns the exit code."""
    from pathlib import Path

    from rich.console import Console

    from deploy.local.network import SITES, LocalNetwork
    from deploy.local.ports import fixed_ports
    from deploy.local.running import run_until_stopped
    from deploy.local.stay import only_one, stay_up

    console = Console()
    directory = Path(args.dir).resolve()
    with only_one(directory):
        ports = fixed_ports(args.port, len(SITES), args.origins)
        network = LocalNetwork(directory, ports, origins_count=args.origins, keys=args.keys)
        try:
            run_until_stopped(stay_up(network, console, samples=not args.no_samples))
        except KeyboardInterrupt:
            console.print("\nstopping …")
        finally:
            network.stop()
    console.print("stopped; the data stay in " + str(directory))
    return 0
