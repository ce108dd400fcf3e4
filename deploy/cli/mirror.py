"""`edgeward mirror`: releases are copied to another bucket or to a directory, or back from one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, progress_bar, show_json
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse

    from registry.store import ObjectStore
    from registry.store.config import StoreConfig

DESCRIPTION = """\
Copy releases with all that they need and all that is signed: only what is missing, every pack hashed. With --name,
the copy still lists what was not copied, and whoever asks for that hears that it is not there. Needs no keys, but
the root of trust. A mirror that was cut off goes on where it was. TARGET is a directory (made if need be), or
s3://BUCKET at the same endpoint or at the one of --to-endpoint. A directory is a store like any other:
--endpoint file:///PATH."""

EXAMPLES = """\
  edgeward mirror /media/usb/edgeward --name chat
  edgeward mirror /media/usb/edgeward --from-dir        # at the site without a network: into its own store
  edgeward mirror s3://edgeward-eu --name chat@1.2.0 --name embed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("target", metavar="TARGET", help="a directory or s3://BUCKET")
    parser.add_argument(
        "--name", action="append", metavar="REF", help="a model, or one release of it; may be said again"
    )
    parser.add_argument(
        "--from-dir", action="store_true", help="the other way: from the directory TARGET into the store"
    )
    parser.add_argument("--to-endpoint", metavar="URL", help="the S3 endpoint of s3://BUCKET")
    parser.add_argument("--check", action="store_true", help="hash what is there already, too")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Copy; returns the exit code."""
    from deploy.cli.connect import store_settings, with_trust
    from registry.mirror import mirror
    from registry.store.opening import open_store
    from registry.store.retrying import RetryingStore

    here, (there, there_config) = store_settings(args), _other(args)
    objects = RetryingStore(open_store(here))
    source, source_config, target = (
        (there, there_config, objects) if args.from_dir else (objects, here, there)
    )
    with progress_bar(str(args.target)) as progress:
        report = mirror(
            with_trust(args, source, source_config),
            target,
            references=args.name or (),
            check_present=args.check,
            progress=progress,
        )
    if args.json:
        show_json(report)
    else:
        print(
            f"{report.releases_count} releases are whole in {'the store' if args.from_dir else args.target}\n"
            f"  copied  {human_bytes(report.copied_bytes)}, {report.copied_packs_count} packs\n"
            f"  there   {human_bytes(report.present_bytes)} already\n"
            f"  signed  {report.signed_files_count} files are new"
        )
    return 0


def _other(args: argparse.Namespace) -> tuple[ObjectStore, StoreConfig]:
    from dataclasses import replace
    from pathlib import Path

    from deploy.cli.connect import store_settings
    from registry.errors import InputInvalidError
    from registry.store.directory import DirectoryStore
    from registry.store.opening import open_store
    from registry.store.retrying import RetryingStore

    settings = store_settings(args)
    bucket = args.target.removeprefix("s3://")
    if bucket != args.target:
        endpoint = settings.endpoint if args.to_endpoint is None else args.to_endpoint
        settings = replace(settings, bucket=bucket, endpoint=endpoint)
        return RetryingStore(open_store(settings)), settings
    place = Path(args.target.removeprefix("file://")).expanduser().absolute()
    if args.from_dir and not place.is_dir():
        raise InputInvalidError(f"there is no directory {place} to copy from")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputInvalidError(
            f"{place} cannot be a store: {error.strerror}; say a directory that can be made or written"
        ) from error
    return DirectoryStore(place), replace(settings, endpoint=place.as_uri())
