"""`edgeward models`: every release and where the channels point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_client_arguments, add_store_arguments
from deploy.cli.terminal import add_json_argument, show_json, show_table
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse

    from origin.api import CatalogAnswer, ReleaseSummary, VariantSummary

DESCRIPTION = """\
List every published release with its variants: their size, the memory that running them takes, the bytes in the
store, and the channels that point at it.
Asks the object store where the settings name one and no --origin is given, else the origin."""

EXAMPLES = """\
  edgeward models
  edgeward models --origin http://origin.example:7700
  edgeward models --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    add_client_arguments(parser, place=False)
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """List; returns the exit code."""
    import asyncio

    from deploy.cli.connect import has_store

    from_store = args.origin is None and has_store(args)
    catalog = asyncio.run(_from_store(args) if from_store else _from_origin(args))
    if args.json:
        show_json(catalog)
    elif not catalog.releases:
        print("no release is published yet; `edgeward publish` makes one")
    else:
        _show(catalog)
    return 0


async def _from_origin(args: argparse.Namespace) -> CatalogAnswer:
    from deploy.cli.connect import open_client

    async with open_client(args) as client:
        return await client.models()


async def _from_store(args: argparse.Namespace) -> CatalogAnswer:
    import time

    from deploy.cli.connect import open_store
    from origin.releases import Releases

    releases = Releases(open_store(args), refresh_s=0.0, now_s=time.monotonic)
    await releases.refresh()
    return releases.known()


def _only(release: ReleaseSummary) -> VariantSummary:
    from origin.api import VariantSummary

    return VariantSummary(
        name="-", kind=release.kind, quantization=release.quantization, total_bytes=release.total_bytes
    )


def _show(catalog: CatalogAnswer) -> None:
    rows = []
    for release in catalog.releases:
        pointers = catalog.channels.get(release.name, {})
        channels = sorted(channel for channel, version in pointers.items() if version == release.version)
        first = [f"{release.name}@{release.version}", ", ".join(channels) or "-"]
        stored = human_bytes(release.stored_bytes)
        for variant in release.variants or (_only(release),):  # an origin of an older version says none
            rows.append(
                [
                    *first,
                    variant.name,
                    variant.kind,
                    release.architecture or "-",
                    variant.quantization or "-",
                    human_bytes(variant.total_bytes),
                    human_bytes(variant.memory_bytes) if variant.memory_bytes else "-",
                    stored,
                ]
            )
            first, stored = ["", ""], ""  # one line for each variant, and what they share once
    show_table(
        ["RELEASE", "CHANNELS", "VARIANT", "KIND", "ARCH", "QUANT", "SIZE", "MEMORY", "STORED"],
        rows,
        numbers=(6, 7, 8),
    )
