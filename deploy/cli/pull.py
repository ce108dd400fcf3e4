"""`edgeward pull`: a release is fetched into a directory, checked chunk by chunk."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from deploy.cli.connect import add_client_arguments, add_store_arguments
from deploy.cli.terminal import add_json_argument, progress_bar, show_json
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator
    from pathlib import Path

    from origin.api import CatalogAnswer
    from origin.client import OriginClient
    from registry.fetch import Source
    from registry.reference import Reference

DESCRIPTION = """\
Fetch a release. Its directory appears whole or not at all: manifest.eaf, and the model's files under files/.
A pull that was cut off goes on where it stopped. Bytes come from the origin, or with --store from the object
store itself; the manifest is checked against its publisher's signature and every chunk against the manifest either
way. The root of trust is store.trusted_root, or root.json beside the keys."""

EXAMPLES = """\
  edgeward pull chat
  edgeward pull chat@1.2.0 --to ./chat-1.2.0
  edgeward pull chat:canary --from-origin http://origin.example:7700
  edgeward pull chat --store
  edgeward pull chat --store file:///media/usb/edgeward"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("reference", metavar="REF", nargs="?", help="chat, chat:canary or chat@1.2.0")
    parser.add_argument("--to", metavar="DIR", help="the new directory (default: ./NAME-VERSION)")
    parser.add_argument(
        "--store",
        nargs="?",
        const="",
        metavar="URL",
        help="read the object store itself, not an origin; the one of the settings, or file:///PATH, http://HOST:PORT",
    )
    parser.add_argument(
        "--trust-origin", action="store_true", help="without a root of trust, take the origin's word"
    )
    add_client_arguments(parser, place=False)
    parser.add_argument("--from-origin", dest="origin", metavar="URL", help="the same as --origin")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch; returns the exit code."""
    import asyncio

    return asyncio.run(_pull(args))


async def _pull(args: argparse.Namespace) -> int:
    from registry.errors import InputInvalidError
    from registry.fetch import fetch
    from registry.reference import parse_reference

    if args.reference is None and args.store and "://" not in args.store:
        args.reference, args.store = args.store, ""  # `pull --store chat`
    if args.reference is None:
        raise InputInvalidError("say which release: edgeward pull chat")
    if args.store:
        args.endpoint = args.store
    reference = parse_reference(args.reference)
    async with _found(args, reference) as (name, version, manifest_bytes, source):
        target = _target(args.to, name, version)
        with progress_bar(f"{name}@{version}") as progress:
            report = await fetch(manifest_bytes, source, target, progress=progress)
    if args.json:
        show_json({"name": name, "version": version, "directory": str(target), "report": report})
    else:
        print(
            f"fetched {name}@{version} into {target}\n"
            f"  size     {human_bytes(report.total_bytes)}\n"
            f"  fetched  {human_bytes(report.fetched_bytes)} in {report.requests_count} requests\n"
            f"  kept     {human_bytes(report.resumed_bytes)} that were there from an earlier pull"
        )
    return 0


def _target(to: str | None, name: str, version: str) -> Path:
    from pathlib import Path

    from registry.errors import InputInvalidError

    target = Path(to or f"{name.replace('/', '~')}-{version}")
    if target.exists() and not target.is_dir():
        raise InputInvalidError(f"{target} is not a directory; say another one with --to")
    return target


@asynccontextmanager
async def _found(
    args: argparse.Namespace, reference: Reference
) -> AsyncIterator[tuple[str, str, bytes, Source]]:
    """The release that is meant, its manifest, and where its bytes come from."""
    if args.store is not None:
        from deploy.cli.connect import open_store
        from registry.catalog import Catalog
        from registry.fetch import StoreSource

        store = open_store(args)
        catalog = Catalog(store)
        name, version = catalog.resolve(reference)
        yield name, version, catalog.manifest(name, version)[0], StoreSource(store)
        return

    from deploy.cli.connect import config_file
    from edge_node.client.config import load_client_config
    from origin.client import OriginClient
    from registry.errors import ManifestInvalidError
    from registry.manifest import manifest_digest

    config = load_client_config(file=config_file(args), flags={"origin": args.origin})
    async with OriginClient(config.origin) as origin:
        known = await origin.catalog()
        name, version = _resolve(known, reference)
        expected = {(release.name, release.version): release.manifest_sha256 for release in known.releases}
        await _check_signature(args, origin, (name, version, expected[name, version]), reference.channel)
        manifest_bytes = await origin.manifest(name, version)
        if manifest_digest(manifest_bytes) != expected[name, version]:
            raise ManifestInvalidError(
                f"the manifest of {name}@{version} that arrived is not the one that the origin's catalog names"
            )
        yield name, version, manifest_bytes, origin


async def _check_signature(
    args: argparse.Namespace, origin: OriginClient, release: tuple[str, str, str], channel: str | None
) -> None:
    """Refuse a release (name, version, digest) that its publisher did not sign, or did not point the channel at.

    Raises:
        TrustError: it is not signed, or there is no root to check that with.
    """
    import time

    from deploy.cli.connect import store_settings, trusted_root
    from registry.errors import TrustRootMissingError
    from registry.trust.kept import KeptInDirectory
    from registry.trust.reader import RemoteReader, require_signed
    from registry.trust.signed_store import read_pin

    try:
        pin = read_pin(trusted_root(args))
    except TrustRootMissingError as error:
        if args.trust_origin:
            return
        raise TrustRootMissingError(
            f"{error.message}. Set store.trusted_root here, or say --trust-origin to take the origin's word"
        ) from error
    kept = KeptInDirectory(store_settings(args).keys_dir / "trusted", pin, origin.url)
    reader = RemoteReader(origin.trust_file, pin, kept, now_unix_s=time.time)
    require_signed(await reader.read(frozenset({release[0]})), *release, channel=channel)


def _resolve(catalog: CatalogAnswer, reference: Reference) -> tuple[str, str]:
    """The release that a reference means.

    Raises:
        ReleaseUnknownError: no such release or channel; the message says what there is.
    """
    from registry.errors import ReleaseUnknownError

    versions = [release.version for release in catalog.releases if release.name == reference.name]
    if not versions:
        names = sorted({release.name for release in catalog.releases})
        raise ReleaseUnknownError(
            f"there is no model {reference.name}; there are: {', '.join(names[:10]) or 'none yet'}"
        )
    channels = catalog.channels.get(reference.name, {})
    version = reference.version or channels.get(reference.channel or "")
    if version in versions:
        return reference.name, version
    raise ReleaseUnknownError(
        f"{reference} is not published; {reference.name} has the versions {', '.join(versions[-10:])} "
        f"and the channels {', '.join(sorted(channels)) or 'none yet'}"
    )
