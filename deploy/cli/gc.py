"""`edgeward gc`: what no release needs any more is removed from the object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, progress_bar, show_json
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse

    from registry.sweep import SweepReport

DESCRIPTION = """\
Remove manifests, deltas and packs that no release has needed for the grace period, such as those of releases that
`edgeward yank` withdrew. Others may publish and pull at the same time. Ctrl-C stops in good order, and running it
again goes on. With --keep-last, old releases are withdrawn first, which needs keys: of each model the last N stay,
whatever a channel points at, and what `edgeward rollback` would point it at."""

EXAMPLES = """\
  edgeward gc --dry-run
  edgeward gc
  edgeward gc --grace 14 --keep-last 5"""

_DAY_S = 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "--grace", type=float, default=7.0, metavar="DAYS", help="how long what nothing needs stays (7)"
    )
    parser.add_argument(
        "--keep-last", type=int, metavar="N", help="also withdraw releases: all but the last N of each model"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    add_store_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Collect; returns the exit code, 130 when it was stopped."""
    import signal
    import threading

    from deploy.cli.connect import open_store
    from registry.errors import InputInvalidError
    from registry.sweep import sweep

    if not 0 <= args.grace < float("inf"):
        raise InputInvalidError(f"--grace {args.grace} is no number of days")
    if args.keep_last is not None and args.keep_last < 1:
        raise InputInvalidError("--keep-last needs a number of at least 1")
    told = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: told.set())
    try:
        with progress_bar("garbage") as progress:
            report = sweep(
                open_store(args),
                grace_s=args.grace * _DAY_S,
                keep_last_count=args.keep_last,
                dry_run=args.dry_run,
                progress=progress,
                stop=told.is_set,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    if args.json:
        show_json(report)
    else:
        print(_in_words(report))
    return 130 if report.stopped else 0


def _in_words(report: SweepReport) -> str:
    would = "would be " if report.dry_run else ""
    lines = [f"{would}withdrawn: {name}" for name in report.withdrawn_releases]
    lines += [
        f"{would}removed {report.removed_count} of {report.objects_count} objects, {human_bytes(report.removed_bytes)}"
        + (" (stopped before the end)" if report.stopped else ""),
        f"  kept for {report.releases_count} releases, {human_bytes(report.unused_bytes)} of it used by none",
        f"  kept because they are young: {report.kept_young_count} objects, {human_bytes(report.kept_young_bytes)}",
    ]
    return "\n".join(lines)
