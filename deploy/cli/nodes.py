"""`edgeward nodes`: the fleet as the origin sees it, once or live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_client_arguments
from deploy.cli.terminal import add_json_argument, show_json, table_text
from deploy.sizes import human_bytes

if TYPE_CHECKING:
    import argparse

    from rich.text import Text

    from origin.api import ModelReport, NodeView

DESCRIPTION = """\
Show every edge node that the origin knows: whether it is up, how long ago it reported, and what it serves.

  revoke ID  turn a node out: origins hear its key no more within 10 s, and its certificate is not renewed. Needs the
             object store (settings [store])"""

EXAMPLES = """\
  edgeward nodes
  edgeward nodes --watch
  edgeward nodes --json
  edgeward nodes revoke fra-1"""

_WATCH_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("action", choices=("revoke",), nargs="?")
    parser.add_argument("node_id", metavar="ID", nargs="?", help="revoke: which")
    parser.add_argument("--watch", action="store_true", help="refresh every second until Ctrl-C")
    add_client_arguments(parser, place=False)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Show; returns the exit code."""
    import asyncio

    from registry.errors import InputInvalidError

    if args.action == "revoke":
        return _revoke(args)
    if args.watch and args.json:
        raise InputInvalidError("--watch shows a live table and --json prints one object: say one of the two")
    return asyncio.run(_watch(args) if args.watch else _once(args))


def _revoke(args: argparse.Namespace) -> int:
    import time

    from deploy.cli.connect import open_register
    from registry.errors import InputInvalidError

    if args.node_id is None:
        raise InputInvalidError("`edgeward nodes revoke` takes the id of a node")
    record = open_register(args).revoke_node(args.node_id, time.time())
    if args.json:
        show_json({"node_id": record.node_id, "key_sha256": record.key_sha256, "revoked": True})
    else:
        print(f"{record.node_id} is turned out: every origin stops to hear it within 10 s")
    return 0


async def _once(args: argparse.Namespace) -> int:
    from deploy.cli.connect import open_client

    async with open_client(args) as client:
        nodes = await client.nodes()
    if args.json:
        show_json({"nodes": nodes})
    else:
        print(_table(nodes))
    return 0


async def _watch(args: argparse.Namespace) -> int:
    import asyncio

    from rich.live import Live

    from deploy.cli.connect import open_client
    from origin.errors import OriginUnreachableError

    async with open_client(args) as client:
        shown = _table(await client.nodes())
        with Live(_still(shown), auto_refresh=False) as live:
            while True:
                await asyncio.sleep(_WATCH_S)
                try:
                    shown = _table(await client.nodes())
                    live.update(_still(shown), refresh=True)
                except OriginUnreachableError as error:
                    # An origin that restarts comes back; what was last seen stays in view.
                    live.update(_still(f"{shown}\n\n{error.message}"), refresh=True)


def _still(text: str) -> Text:
    """The text cut at the terminal's edge: wrapped rows would jump about."""
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="ellipsis")


def _table(nodes: tuple[NodeView, ...]) -> str:
    if not nodes:
        return "no node has reported yet; `edgeward node serve` runs one"
    rows = [
        [
            view.report.node_id,
            view.report.label,
            view.state,
            "yes" if view.report.enrolled else "no",
            f"{view.age_s:.1f} s",
            f"{view.report.place.lat:.2f},{view.report.place.lon:.2f}" if view.report.place else "?",
            view.report.url,
            ", ".join(map(_model, view.report.models)) or "-",
        ]
        for view in nodes
    ]
    return table_text(
        ["NODE", "LABEL", "STATE", "ENROLLED", "SEEN", "PLACE", "URL", "MODELS"], rows, numbers=(4,)
    )


def _model(model: ModelReport) -> str:
    named = f"{model.name}@{model.version}" + (f" {model.variant}" if model.variant else "")
    if model.state == "ready":
        return f"{named} {model.busy}/{model.slots} busy" + (
            f" +{model.queued} waiting" if model.queued else ""
        )
    if model.state == "fetching" and model.fetch_total_bytes:
        return (
            f"{named} fetching {human_bytes(model.fetched_bytes)} of {human_bytes(model.fetch_total_bytes)}"
        )
    return f"{named} {model.state}" + (f" ({model.detail})" if model.detail else "")
