"""`edgeward promote`: a channel is pointed at a version that is published already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Point a channel at a published version. Every node that follows the channel fetches the version, loads it
beside the old one, and then answers with it. `edgeward rollback` takes it back."""

EXAMPLES = """\
  edgeward promote chat@1.3.0
  edgeward promote chat@1.3.0 --channel canary"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("release", metavar="NAME@VERSION", help="a published release")
    parser.add_argument("--channel", default="stable", help="the channel to move (stable)")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Move the channel; returns the exit code."""
    from deploy.cli.connect import open_store
    from registry.catalog import Catalog
    from registry.errors import InputInvalidError
    from registry.reference import check_channel, parse_reference

    reference = parse_reference(args.release)
    if reference.version is None:
        raise InputInvalidError(f"say which version to promote: {reference.name}@VERSION")
    channel = check_channel(args.channel)
    moved = Catalog(open_store(args)).move_channel(reference.name, channel, reference.version)
    if args.json:
        show_json({"name": reference.name, "version": reference.version, "channel": channel, "moved": moved})
    elif moved:
        print(f"{reference.name}:{channel} now points at {reference.version}")
    else:
        print(f"{reference.name}:{channel} pointed at {reference.version} already")
    return 0
