"""`edgeward publish`: a model file or directory becomes a version in the object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, progress_bar, show_json
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse

    from registry.publish import PublishReport

DESCRIPTION = """\
Publish a model (GGUF, ONNX or safetensors file, or a directory) to the object store as one version of a name.
Only chunks that the store does not have are uploaded. A version never changes: the same bytes again change
nothing, other bytes are refused. The channel then points at the version, and nodes that follow it fetch it."""

EXAMPLES = """\
  edgeward publish model.gguf --name chat --version 1.2.0
  edgeward publish ./minilm --name embed --version 1.0.0 --license Apache-2.0
  edgeward publish model.gguf --name chat --version 1.3.0-rc1 --channel canary
  edgeward publish model.gguf --name chat --version 1.3.0 --no-channel
  edgeward publish model.gguf --name chat --version 1.3.0 --prefix system.txt"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "path", metavar="PATH", help="a model file, or a directory with all files of one model"
    )
    parser.add_argument("--name", required=True, help="the model's name, such as chat or team/chat")
    parser.add_argument("--version", required=True, help="the version, such as 1.2.0")
    channel = parser.add_mutually_exclusive_group()
    channel.add_argument("--channel", default="stable", help="the channel to point at it (stable)")
    channel.add_argument("--no-channel", action="store_true", help="point no channel at it yet")
    parser.add_argument("--variant", help="the name of this form of the model (default: its quantization)")
    parser.add_argument(
        "--parent",
        metavar="REF",
        help="the release that this one was made from; nodes that hold it get a delta",
    )
    parser.add_argument("--license", default="", help="the model's license, such as Apache-2.0")
    parser.add_argument(
        "--prefix",
        action="append",
        default=[],
        metavar="FILE",
        help="a system prompt to read now, so that nodes like this machine need not; may be repeated",
    )
    add_store_arguments(parser)
    parser.add_argument("--store", dest="endpoint", metavar="URL", help="the same as --endpoint")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Publish; returns the exit code."""
    import time
    from contextlib import ExitStack
    from pathlib import Path

    from deploy.cli.connect import open_store
    from registry.publish import publish
    from registry.reference import check_channel, check_name, check_version

    # Before the store is opened: a wrong name should not wait for the network.
    check_name(args.name)
    check_version(args.version)
    channel = None if args.no_channel else check_channel(args.channel)
    started_s = time.monotonic()
    with ExitStack() as stack:
        path = Path(args.path)
        if args.prefix:
            from edge_node.engines.prefill import with_prefixes

            path = stack.enter_context(with_prefixes(path, [Path(file) for file in args.prefix]))
        progress = stack.enter_context(progress_bar(f"{args.name}@{args.version}"))
        report = publish(
            path,
            name=args.name,
            version=args.version,
            store=open_store(args),
            channel=channel,
            variant=args.variant,
            license_name=args.license,
            parent=args.parent,
            created_unix_s=int(time.time()),
            progress=progress,
        )
    if args.json:
        show_json(report)
    else:
        print(_in_words(report, time.monotonic() - started_s))
    return 0


def _in_words(report: PublishReport, took_s: float) -> str:
    where = f", channel {report.channel} points at it" if report.channel else ""
    unchanged = " (the same bytes were there already)" if report.outcome == "unchanged" else ""
    return (
        f"{report.outcome} {report.name}@{report.version}{where}{unchanged}\n"
        f"  size      {human_bytes(report.total_bytes)} in {report.chunks_count} chunks, "
        f"{report.new_chunks_count} of them new\n"
        f"  uploaded  {human_bytes(report.uploaded_bytes)} in {report.requests_count} requests, {took_s:.1f} s\n"
        f"  manifest  {report.manifest_sha256}"
    )
