"""`edgeward pull`: a release is fetched into a directory, checked chunk by chunk."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from deploy.cli.connect import add_client_arguments, add_store_arguments
from deploy.cli.terminal import add_json_argument, counted, progress_bar, show_json
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from origin.api import CatalogAnswer
    from origin.client import OriginClient
    from registry.digest import Digest
    from registry.fetch import Source
    from registry.reference import Reference

DESCRIPTION = """\
Fetch a release, or with --variant some of its variants; others may be added later. Its directory appears whole or
not at all: manifest.eaf, and the model's files under files/. A pull that was cut off goes on where it stopped. Other
releases in the same parent directory, and those at --base, give what they have already. The rest comes from the
origin, or with --store from the object store itself; the manifest is checked against its publisher's signature and
every chunk against the manifest either way. The root of trust is store.trusted_root, or root.json beside the keys."""

EXAMPLES = """\
  edgeward pull chat
  edgeward pull chat@1.2.0 --to ./chat-1.2.0
  edgeward pull chat --variant q4_k_m
  edgeward pull chat@1.3.0 --base ./chat-1.2.0
  edgeward pull chat:canary --from-origin http://origin.example:7700
  edgeward pull chat --store
  edgeward pull chat --store file:///media/usb/edgeward"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("reference", metavar="REF", nargs="?", help="chat, chat:canary or chat@1.2.0")
    parser.add_argument("--to", metavar="DIR", help="the new directory (default: ./NAME-VERSION)")
    parser.add_argument(
        "--variant", action="append", metavar="NAME", help="only this variant; may be said again (all)"
    )
    parser.add_argument(
        "--base",
        action="append",
        default=[],
        metavar="DIR",
        help="a fetched release, or a directory of some, whose bytes are used again; may be said again",
    )
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
    from registry.fetch import ask_delta, fetch
    from registry.fetch.bases import find_bases
    from registry.reference import parse_reference

    if args.reference is None and args.store and "://" not in args.store:
        args.reference, args.store = args.store, ""  # `pull --store chat`
    if args.reference is None:
        raise InputInvalidError("say which release: edgeward pull chat")
    if args.store:
        args.endpoint = args.store
    reference = parse_reference(args.reference)
    bases = _bases(args.base)
    async with _found(args, reference) as found:
        target = _target(args.to, found.name, found.version)
        with progress_bar(f"{found.name}@{found.version}") as progress:
            alike, others = find_bases((*bases, target.absolute().parent), found.name, target)
            delta = await ask_delta(found.source, found.sha256, () if target.exists() else alike)
            report = await fetch(
                delta.manifest_bytes if delta else await found.manifest(),
                found.source,
                target,
                variants=args.variant,
                local=(*alike, *others),
                delta=delta,
                progress=progress,
            )
    name, version = found.name, found.version
    if args.json:
        show_json({"name": name, "version": version, "directory": str(target), "report": report})
    else:
        print(
            f"fetched {name}@{version}{_words(args.variant)} into {target}\n"
            f"  size     {human_bytes(report.total_bytes)}\n"
            f"  fetched  {human_bytes(report.fetched_bytes)} in {counted(report.requests_count, 'request')}\n"
            f"  kept     {human_bytes(report.resumed_bytes)} that were there from an earlier pull\n"
            f"  reused   {human_bytes(report.reused_bytes)} of other releases here"
        )
    return 0


def _words(variants: list[str] | None) -> str:
    return f" ({', '.join(variants)})" if variants else ""


def _bases(said: list[str]) -> list[Path]:
    from pathlib import Path

    from registry.errors import InputInvalidError

    places = [Path(word).expanduser() for word in said]
    for place in places:
        if not place.is_dir():
            raise InputInvalidError(f"--base {place} is not a directory; say one that `edgeward pull` made")
    return places


def _target(to: str | None, name: str, version: str) -> Path:
    from pathlib import Path

    from registry.errors import InputInvalidError

    target = Path(to or f"{name.replace('/', '~')}-{version}")
    if target.exists() and not target.is_dir():
        raise InputInvalidError(f"{target} is not a directory; say another one with --to")
    return target


class _Found(NamedTuple):
    """The release that is meant, the digest of its manifest, and where that and its bytes come from."""

    name: str
    version: str
    sha256: Digest
    manifest: Callable[[], Awaitable[bytes]]
    source: Source


@asynccontextmanager
async def _found(args: argparse.Namespace, reference: Reference) -> AsyncIterator[_Found]:
    if args.store is not None:
        from deploy.cli.connect import open_store
        from registry.catalog import Catalog
        from registry.fetch import StoreSource

        store = open_store(args)
        catalog = Catalog(store).frozen()
        name, version = catalog.resolve(reference)

        async def from_store() -> bytes:
            return catalog.manifest(name, version)[0]

        sha256 = catalog.statement(name, version).sha256
        yield _Found(name, version, sha256, from_store, StoreSource(store))
        return

    from deploy.cli.connect import config_file
    from edge_node.client.config import load_client_config
    from origin.client import OriginClient
    from registry.digest import parse_digest
    from registry.errors import ManifestInvalidError
    from registry.manifest import manifest_digest

    config = load_client_config(file=config_file(args), flags={"origin": args.origin})
    async with OriginClient(config.origin, api_key=config.api_key) as origin:
        known = await origin.catalog()
        name, version = _resolve(known, reference)
        expected = {(release.name, release.version): release.manifest_sha256 for release in known.releases}
        await _check_signature(args, origin, (name, version, expected[name, version]), reference.channel)
        sha256 = parse_digest(expected[name, version])

        async def from_origin() -> bytes:
            manifest_bytes = await origin.manifest(name, version)
            if manifest_digest(manifest_bytes) != sha256:
                raise ManifestInvalidError(
                    f"the manifest of {name}@{version} that arrived is not the one that the origin's catalog names"
                )
            return manifest_bytes

        yield _Found(name, version, sha256, from_origin, origin)


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
    from difflib import get_close_matches

    from registry.errors import ReleaseUnknownError

    versions = [release.version for release in catalog.releases if release.name == reference.name]
    if not versions:
        names = sorted({release.name for release in catalog.releases})
        near = get_close_matches(reference.name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names[:10]) or 'none yet'}"
        raise ReleaseUnknownError(f"there is no model {reference.name}; {hint}")
    channels = catalog.channels.get(reference.name, {})
    version = reference.version or channels.get(reference.channel or "")
    if version in versions:
        return reference.name, version
    raise ReleaseUnknownError(
        f"{reference} is not published; {reference.name} has the versions {', '.join(versions[-10:])} "
        f"and the channels {', '.join(sorted(channels)) or 'none yet'}"
    )
