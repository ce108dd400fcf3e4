"""`edgeward demo`: the whole network at work on this machine, checked step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Start a real object store, an origin and three edge nodes on this machine; publish a real chat model and a
real embedding model; ask from three places; update the chat model by a few bytes; lose a node. Every step is
checked: the exit code is 0 only if all of them truly happened. Nothing is left behind."""

EXAMPLES = """\
  edgeward demo
  edgeward demo --json > report.json
  edgeward demo --keep --dir ./demo   # look at the logs afterwards"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "--json", action="store_true", help="print the report as JSON; progress goes to stderr"
    )
    parser.add_argument("--dir", metavar="DIR", help="work in DIR instead of a temporary directory")
    parser.add_argument("--keep", action="store_true", help="leave data and logs where they are")


def run(args: argparse.Namespace) -> int:
    """Tell the story; returns the exit code."""
    import shutil
    import tempfile
    from pathlib import Path

    from rich.console import Console

    from deploy.local.demo import Demo
    from deploy.local.network import SITES, LocalNetwork
    from deploy.local.ports import free_ports
    from deploy.local.running import run_until_stopped
    from deploy.local.story import Story
    from registry.errors import EdgewardError

    console = Console(stderr=args.json)
    directory = Path(args.dir).resolve() if args.dir else Path(tempfile.mkdtemp(prefix="edgeward-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    story = Story(console)
    failure = ""
    network = LocalNetwork(directory, free_ports(len(SITES)))
    try:
        run_until_stopped(Demo(network, story).run())
    except EdgewardError as error:
        failure = error.message
    finally:
        network.stop()
        if args.keep:
            console.print(f"\nData and logs are in {directory}")
        elif not args.dir:
            shutil.rmtree(directory, ignore_errors=True)
    console.print()
    console.print(story.table())
    if args.json:
        print(story.as_json())
    if failure:
        console.print(f"[red]The demo stopped: {failure}[/red]")
    return 0 if story.ok and not failure else 1
