"""`edgeward yank`: a version is withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Withdraw a published version for good. No node installs it any more, and channels that point at it go back to what
they pointed at before; nodes that hold it go on serving until their channel has another version for them. The
version's name stays taken, and its bytes go with `edgeward gc` after the grace period."""

EXAMPLES = """\
  edgeward yank chat@1.3.0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("release", metavar="NAME@VERSION", help="a published release")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Withdraw; returns the exit code."""
    from deploy.cli.connect import open_store
    from registry.catalog import Catalog
    from registry.errors import InputInvalidError
    from registry.reference import parse_reference

    reference = parse_reference(args.release)
    if reference.version is None:
        raise InputInvalidError(f"say which version to withdraw: {reference.name}@VERSION")
    catalog = Catalog(open_store(args))
    yanked = catalog.yank(reference.name, reference.version)
    channels = catalog.channels(reference.name)
    if args.json:
        show_json(
            {"name": reference.name, "version": reference.version, "yanked": yanked, "channels": channels}
        )
    else:
        print(f"{reference} {'is withdrawn' if yanked else 'was withdrawn already'}")
        for channel, version in sorted(channels.items()):
            print(f"  {reference.name}:{channel} points at {version}")
    return 0
