"""`edgeward remove`: a release is taken out of the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Remove a release that no channel points at. Nodes that hold it keep it until they are told otherwise; its bytes
are removed by `edgeward gc` after the grace period, and until then pulls that are going on can finish."""

EXAMPLES = """\
  edgeward remove chat@1.2.0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("release", metavar="NAME@VERSION", help="a published release")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Remove; returns the exit code."""
    from deploy.cli.connect import open_store
    from registry.errors import InputInvalidError
    from registry.reference import parse_reference
    from registry.removal import remove_release

    reference = parse_reference(args.release)
    if reference.version is None:
        raise InputInvalidError(f"say which version to remove: {reference.name}@VERSION")
    remove_release(open_store(args), reference.name, reference.version)
    if args.json:
        show_json({"name": reference.name, "version": reference.version, "removed": True})
    else:
        print(f"removed {reference}; `edgeward gc` frees its bytes after the grace period")
    return 0
