"""`edgeward timestamp renew`: what is signed gets a new date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Sign snapshot and timestamp anew with the online key. The timestamp is good for 24 hours and nodes install nothing
by an older one, so run this every few hours, or give the origin the online key (origin.keys_dir), which then does
it by itself. Every publish renews too. It also finishes a rotation of keys that broke off."""

EXAMPLES = """\
  edgeward timestamp renew
  0 */6 * * *  edgeward timestamp renew        # as a line of crontab"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=("renew",), help="sign with a new date")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Renew; returns the exit code."""
    from datetime import UTC, datetime

    from deploy.cli.connect import open_store
    from registry.errors import TrustMissingError

    store = open_store(args)
    store.publisher.renew(even_if_young=True)
    verified, _ = store.reader.read()
    if verified is None:
        raise TrustMissingError("there is nothing to renew: nothing was ever published to this object store")
    until = datetime.fromtimestamp(verified.first_expiry_unix_s, UTC).isoformat()
    if args.json:
        show_json({"timestamp_version": verified.timestamp.version, "good_until": until})
    else:
        print(f"signed version {verified.timestamp.version}, good until {until}")
    return 0
