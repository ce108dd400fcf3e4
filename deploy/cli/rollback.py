"""`edgeward rollback`: a channel goes back to the version that it pointed at before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Point a channel at the version that it pointed at before. Nodes still hold that version, so they go back
without fetching it. A second rollback undoes the first."""

EXAMPLES = """\
  edgeward rollback chat
  edgeward rollback chat --channel canary"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("name", metavar="NAME", help="a model")
    parser.add_argument("--channel", default="stable", help="the channel to move (stable)")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Move the channel back; returns the exit code."""
    from deploy.cli.connect import open_store
    from registry.catalog import Catalog
    from registry.reference import check_channel, check_name

    name, channel = check_name(args.name), check_channel(args.channel)
    version = Catalog(open_store(args)).roll_back(name, channel)
    if args.json:
        show_json({"name": name, "version": version, "channel": channel})
    else:
        print(f"{name}:{channel} is back at {version}")
    return 0
