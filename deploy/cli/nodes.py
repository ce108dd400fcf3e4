"""`edgeward nodes`: the fleet as the origin sees it, once or live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_client_arguments
from deploy.cli.fleet_table import COLUMNS, GAP, NUMBERS, STATE_COLUMN, fitted, row_of, summary
from deploy.cli.terminal import add_json_argument, dim, printable, show_json, show_table

if TYPE_CHECKING:
    import argparse

    from rich.console import Group

    from origin.api_fleet import NodeView

DESCRIPTION = """\
Show every edge node that the origin knows: whether it is up, how long ago it reported, how busy it is, how many
requests it has handed on to other nodes, of how many networks it measured the round trip since its last report, and
what it serves.

  revoke ID  turn a node out: origins hear its key no more within 10 s, and its certificate is not renewed. Needs the
             object store (settings [store])"""

EXAMPLES = """\
  edgeward nodes
  edgeward nodes --watch
  edgeward nodes --json
  edgeward nodes revoke fra-1"""

_WATCH_S = 1.0
_NOBODY = "no node has reported yet; `edgeward node serve` runs one"
_STYLES = {"up": "green", "suspect": "yellow", "draining": "cyan", "down": "red"}


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
        print(f"{record.node_id} is turned out: within 10 s no origin hears it any more")
    return 0


async def _once(args: argparse.Namespace) -> int:
    from deploy.cli.connect import open_client

    async with open_client(args) as client:
        nodes = await client.nodes()
    if args.json:
        show_json({"nodes": nodes})
    elif not nodes:
        print(_NOBODY)
    else:
        show_table(COLUMNS, [row_of(view) for view in nodes], numbers=NUMBERS)
        dim(summary(nodes))
    return 0


async def _watch(args: argparse.Namespace) -> int:
    import asyncio

    from rich.live import Live

    from deploy.cli.connect import open_client
    from origin.errors import OriginUnreachableError

    async with open_client(args) as client:
        nodes, trouble = await client.nodes(), ""
        with Live(auto_refresh=False) as live:
            while True:
                live.update(_live(nodes, trouble, live.console.width), refresh=True)
                await asyncio.sleep(_WATCH_S)
                try:
                    nodes, trouble = await client.nodes(), ""
                except OriginUnreachableError as error:
                    # An origin that restarts comes back; what was last seen stays in view.
                    trouble = error.message


def _live(nodes: tuple[NodeView, ...], trouble: str, width: int) -> Group:
    """The fleet as a table of the terminal's width, with a line about all of it below.

    What a narrow terminal has no room for is left out, the least telling columns first.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = [[printable(cell) for cell in row_of(view)] for view in nodes]
    shown, models_width = fitted(rows, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim", expand=False)
    for number in shown:
        # Wrapped rows would jump about.
        table.add_column(
            COLUMNS[number],
            justify="right" if number in NUMBERS else "left",
            no_wrap=True,
            overflow="ellipsis",
            max_width=models_width if COLUMNS[number] == "MODELS" else None,
        )
    for view, row in zip(nodes, rows, strict=True):
        # As text, not as markup: ids and labels are what nodes say of themselves.
        cells = [Text(cell) for cell in row]
        cells[STATE_COLUMN].stylize(_STYLES[view.state])
        table.add_row(*(cells[number] for number in shown))
    below = Text(summary(nodes) if nodes else _NOBODY, style="dim")
    return Group(table, below, Text(printable(trouble), style="red")) if trouble else Group(table, below)
