"""`edgeward verify`: every byte of a fetched release is held against its manifest."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli.connect import add_client_arguments, add_store_arguments
from deploy.cli.terminal import add_json_argument, counted, progress_bar, show_json
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from origin.build.rederiving import RederivedVariant
    from registry.fetch import Source
    from registry.repair import RepairReport
    from registry.verify import VerifyReport

DESCRIPTION = """\
Read every file of a fetched release and compare it with the manifest beside it. The exit code is 0 only if
every file is there and whole. With --repair, damaged and missing files are fetched again, only the chunks that are
wrong, and replaced while the release is in use. With --rederive, each GGUF variant is rebuilt bit for bit, without
llama.cpp, from a file that it was made from, as its lineage says: the exit code is 0 only if every byte follows."""

EXAMPLES = """\
  edgeward verify ./chat-1.2.0
  edgeward verify chat@1.2.0 --in ~/.local/share/edgeward/node     # a release that a node holds
  edgeward verify ./chat-1.2.0 --repair
  edgeward verify ./chat-1.2.0 --lineage
  edgeward verify ./chat-1.2.0 --rederive chat.f16.gguf
  edgeward verify ./chat-1.2.0 --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "release", metavar="DIR", help="a directory that `pull` made, or NAME@VERSION with --in"
    )
    parser.add_argument(
        "--in", dest="within", metavar="ROOT", help="a node's data directory, or where `pull` was run"
    )
    parser.add_argument(
        "--repair", action="store_true", help="fetch what is damaged again, from the origin or with --store"
    )
    parser.add_argument(
        "--lineage",
        action="store_true",
        help="also say what the variants were made from, as the manifest has it",
    )
    parser.add_argument(
        "--rederive", metavar="PARENT", help="rebuild the release from this GGUF file, and compare"
    )
    parser.add_argument(
        "--store",
        nargs="?",
        const="",
        metavar="URL",
        help="repair from the object store itself; the one of the settings, or file:///PATH, http://HOST:PORT",
    )
    add_client_arguments(parser, place=False)
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Verify; returns the exit code."""
    from registry.repair import remove_leftover
    from registry.verify import verify

    directory = _directory(args)
    with progress_bar(str(directory.name)) as progress:
        report = verify(directory, progress)
    if args.rederive and report.whole:
        return _rederive(args, directory, report)
    if args.repair and not report.whole:
        return _repair(args, directory, report)
    if args.repair:
        remove_leftover(directory)
    if args.lineage:
        _show_lineage(args, directory, report)
    elif args.json:
        show_json(report)
    else:
        for path in report.missing:
            print(f"missing  {path}")
        for file in report.damaged:
            print(f"damaged  {file.path} ({file.chunks_count} chunks)")
        print(
            f"{'whole' if report.whole else 'NOT WHOLE'}: {directory}, {counted(len(report.ok), 'file')} as published "
            f"({', '.join(report.variants)})"
        )
    return 0 if report.whole else 1


def _show_lineage(args: argparse.Namespace, directory: Path, report: VerifyReport) -> None:
    from deploy.cli.lineage_text import lineage_text
    from registry.manifest import lineage_of
    from registry.release_directory import ReleaseDirectory

    variants = ReleaseDirectory.read(directory).manifest.variants
    found = {it.name: (it.space_id, lineage_of(it)) for it in variants if it.name in report.variants}
    if args.json:
        told = {name: {"space_id": space, "lineage": it} for name, (space, it) in found.items()}
        show_json({"verified": report, "variants": told})
        return
    print(f"{'whole' if report.whole else 'NOT WHOLE'}: {directory}")
    for name, (space, lineage) in found.items():
        print(lineage_text(name, space, lineage))


def _rederive(args: argparse.Namespace, directory: Path, report: VerifyReport) -> int:
    from origin.build.rederiving import rederive_release

    with progress_bar(str(directory.name)) as progress:
        found = rederive_release(directory, Path(args.rederive).expanduser(), progress)
    if args.json:
        show_json({"verified": report, "rederived": found})
    else:
        for it in found:
            print(_in_words(it))
    return 0 if all(it.proven for it in found) else 1


def _in_words(it: RederivedVariant) -> str:
    if it.reason:
        return f"UNKNOWN  {it.variant}: {it.reason}"
    counted = ", ".join(f"{count} {element}" for element, count in it.exact_counts.items()) or "none"
    lines = [f"{'proven' if it.proven else 'NOT PROVEN'}: {it.variant}, the same bytes: {counted}"]
    for what, names in (("different", it.different), ("cannot tell", it.untold), ("header", it.fields)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"  {what}  {', '.join(names[:3])}{more}")
    return "\n".join(lines)


def _repair(args: argparse.Namespace, directory: Path, found: VerifyReport) -> int:
    import asyncio

    from registry.repair import repair

    async def mend() -> RepairReport:
        async with _source(args) as source:
            with progress_bar(str(directory.name)) as progress:
                return await repair(directory, source, found=found, progress=progress)

    report = asyncio.run(mend())
    if args.json:
        show_json(report)
    else:
        for path in report.replaced:
            print(f"mended   {path}")
        print(f"whole: {directory}, {human_bytes(report.fetched_bytes)} fetched")
    return 0


@asynccontextmanager
async def _source(args: argparse.Namespace) -> AsyncIterator[Source]:
    if args.store is not None:
        from deploy.cli.connect import open_store
        from registry.fetch import StoreSource

        args.endpoint = args.store or args.endpoint
        yield StoreSource(open_store(args))
        return
    from deploy.cli.connect import config_file
    from edge_node.client.config import load_client_config
    from origin.client import OriginClient

    config = load_client_config(file=config_file(args), flags={"origin": args.origin})
    async with OriginClient(config.origin, api_key=config.api_key) as origin:
        yield origin


def _directory(args: argparse.Namespace) -> Path:
    from registry.errors import InputInvalidError
    from registry.reference import parse_reference

    if args.within is None:
        found = Path(args.release)
        if not found.is_dir():
            raise InputInvalidError(
                f"{found} is not a directory; `edgeward pull` makes one, or say --in ROOT"
            )
        return found
    reference = parse_reference(args.release)
    if reference.version is None:
        raise InputInvalidError(f"say which version to verify: {reference.name}@VERSION")
    flat = reference.name.replace("/", "~")
    root = Path(args.within).expanduser()
    for found in (root / "models" / flat / reference.version, root / f"{flat}-{reference.version}"):
        if found.is_dir():
            return found
    raise InputInvalidError(f"{reference} is not in {root}")
