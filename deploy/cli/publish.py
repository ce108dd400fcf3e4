"""`edgeward publish`: a model file or directory becomes a version in the object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_store_arguments
from deploy.cli.terminal import add_json_argument, counted, progress_bar, show_json
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse
    from contextlib import ExitStack

    from registry.publish import PublishReport, VariantSource

DESCRIPTION = """\
Publish a model (GGUF, ONNX or safetensors file, or a directory) to the object store as one version of a name.
Several paths become its variants, named by their quantization or by --variant; each node takes the one that suits it.
Only chunks that the store does not have are uploaded. A version never changes: the same bytes again change
nothing, other bytes and further variants are refused. The channel then points at the version, and nodes that follow
it fetch it."""

EXAMPLES = """\
  edgeward publish model.gguf --name chat --version 1.2.0
  edgeward publish q4.gguf q8.gguf --name chat --version 1.2.0
  edgeward publish --variant small=q4.gguf --variant best=q8.gguf --name chat --version 1.2.0
  edgeward publish ./minilm --name embed --version 1.0.0 --license Apache-2.0 --space minilm-l6
  edgeward publish model.gguf --name chat --version 1.3.0-rc1 --channel canary
  edgeward publish model.gguf --name chat --version 1.3.0 --no-channel
  edgeward publish model.gguf --name chat --version 1.3.0 --prefix system.txt"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="a model file, or a directory with all files of one model; each is one variant",
    )
    parser.add_argument("--name", required=True, help="the model's name, such as chat or team/chat")
    parser.add_argument("--version", required=True, help="the version, such as 1.2.0")
    channel = parser.add_mutually_exclusive_group()
    channel.add_argument("--channel", default="stable", help="the channel to point at it (stable)")
    channel.add_argument("--no-channel", action="store_true", help="point no channel at it yet")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a variant and its name; may be said again. NAME alone names a lone PATH (default: its quantization)",
    )
    parser.add_argument(
        "--cpu",
        action="append",
        default=[],
        metavar="[NAME=]FEATURES",
        help="CPU features that a variant, or each, cannot do without, such as int8=avx512_vnni; comma-separated",
    )
    parser.add_argument(
        "--parent",
        metavar="REF",
        help="the release that this one was made from; nodes that hold it get a delta",
    )
    parser.add_argument(
        "--space",
        default="",
        metavar="NAME",
        help="of an embedding model: the space that its vectors are in; those of another are never mixed with them",
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
    from dataclasses import replace

    from deploy.cli.connect import open_store
    from registry.publish import publish
    from registry.reference import check_channel, check_name, check_space, check_version

    # Before the store is opened: a wrong name should not wait for the network.
    check_name(args.name)
    check_version(args.version)
    channel = None if args.no_channel else check_channel(args.channel)
    sources = [
        replace(source, space_id=check_space(args.space) if args.space else "")
        for source in _sources(args.paths, args.variant, args.cpu)
    ]
    started_s = time.monotonic()
    with ExitStack() as stack:
        if args.prefix:
            sources = [_with_prefixes(source, args.prefix, stack) for source in sources]
        progress = stack.enter_context(progress_bar(f"{args.name}@{args.version}"))
        report = publish(
            sources,
            name=args.name,
            version=args.version,
            store=open_store(args),
            channel=channel,
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


def _sources(paths: list[str], named: list[str], cpu: list[str]) -> list[VariantSource]:
    """What each variant is made from.

    Raises:
        InputInvalidError: the words fit no variant, or nothing is there.
    """
    from pathlib import Path

    from registry.errors import InputInvalidError
    from registry.publish import VariantSource
    from registry.reference import check_variant

    pairs: list[tuple[str | None, str]] = [(None, path) for path in paths]
    for word in named:
        name, equals, path = word.partition("=")
        check_variant(name)
        if equals:
            pairs.append((name, path))
        elif len(paths) == len(named) == 1:
            pairs = [(name, paths[0])]
        else:
            raise InputInvalidError(f"say which path is the variant {name}: --variant {name}=PATH")
    for _, path in pairs:
        if not Path(path).exists():
            raise InputInvalidError(f"there is no file or directory {path}")
    if not pairs:
        raise InputInvalidError(
            "say what to publish: edgeward publish model.gguf --name chat --version 1.2.0"
        )
    features: dict[str | None, tuple[str, ...]] = {}
    for word in cpu:
        of, equals, rest = word.rpartition("=")
        features[of if equals else None] = tuple(filter(None, rest.split(",")))
    for unknown in features.keys() - {None} - {name for name, _ in pairs}:
        raise InputInvalidError(f"--cpu {unknown}=… names no variant; name it: --variant {unknown}=PATH")
    return [
        VariantSource(path=Path(path), name=name, features=features.get(name, features.get(None, ())))
        for name, path in pairs
    ]


def _with_prefixes(source: VariantSource, prompts: list[str], stack: ExitStack) -> VariantSource:
    """The same variant with the prefixes of these system prompts; its files are gone with the stack."""
    from dataclasses import replace
    from pathlib import Path

    from edge_node.engines.prefill import with_prefixes

    paths = [Path(prompt) for prompt in prompts]
    return replace(source, path=stack.enter_context(with_prefixes(source.path, paths)))


def _in_words(report: PublishReport, took_s: float) -> str:
    where = f", channel {report.channel} points at it" if report.channel else ""
    unchanged = " (the same bytes were there already)" if report.outcome == "unchanged" else ""
    return (
        f"{report.outcome} {report.name}@{report.version}{where}{unchanged}\n"
        f"  variants  {', '.join(report.variants)}\n"
        f"  size      {human_bytes(report.total_bytes)} in {counted(report.chunks_count, 'chunk')}, "
        f"{report.new_chunks_count} of them new\n"
        f"  uploaded  {human_bytes(report.uploaded_bytes)} in {counted(report.requests_count, 'request')}, "
        f"{took_s:.1f} s\n"
        f"  manifest  {report.manifest_sha256}"
    )
