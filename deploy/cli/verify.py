"""`edgeward verify`: every byte of a fetched release is held against its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli.terminal import add_json_argument, progress_bar, show_json

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Read every file of a fetched release and compare it with the manifest beside it. The exit code is 0 only if
every file is there and whole."""

EXAMPLES = """\
  edgeward verify ./chat-1.2.0
  edgeward verify chat@1.2.0 --in ~/.local/share/edgeward/node     # a release that a node holds
  edgeward verify ./chat-1.2.0 --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "release", metavar="DIR", help="a directory that `pull` made, or NAME@VERSION with --in"
    )
    parser.add_argument(
        "--in", dest="within", metavar="ROOT", help="a node's data directory, or where `pull` was run"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Verify; returns the exit code."""
    from registry.verify import verify

    directory = _directory(args)
    with progress_bar(str(directory.name)) as progress:
        report = verify(directory, progress)
    if args.json:
        show_json(report)
    else:
        for path in report.missing:
            print(f"missing  {path}")
        for file in report.damaged:
            print(f"damaged  {file.path} ({file.chunks_count} chunks)")
        print(f"{'whole' if report.whole else 'NOT WHOLE'}: {directory}, {len(report.ok)} files as published")
    return 0 if report.whole else 1


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
