"""`edgeward route`: the nodes that would answer, best first, with every term of their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_client_arguments
from deploy.cli.terminal import add_json_argument, dim, printable, show_json, show_table

if TYPE_CHECKING:
    import argparse

    from origin.api import RouteAnswer

DESCRIPTION = """\
Show how the origin ranks the nodes for a model and a place. A score is the expected time to the first token;
the columns after it are the terms that it is the sum of, in milliseconds."""

EXAMPLES = """\
  edgeward route
  edgeward route --model chat:canary --from tokyo
  edgeward route --from 48.86,2.35 --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "--model", metavar="REF", help="chat, chat:canary or chat@1.2.0 (default: the only chat model)"
    )
    add_client_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and show; returns the exit code."""
    import asyncio

    answer = asyncio.run(_route(args))
    if args.json:
        show_json(answer)
        return 0
    # Terms may differ from node to node and will grow: the answer itself says which there are.
    terms = list(dict.fromkeys(term for node in answer.nodes for term in node.terms_s))
    rows = [
        [
            node.node_id,
            node.label,
            node.version,
            "?" if node.distance_km is None else f"{node.distance_km:,.0f}",
            f"{node.rtt_ms:.0f}",
            f"{node.score_s * 1000:.0f}",
            *(f"{node.terms_s[term] * 1000:.0f}" if term in node.terms_s else "-" for term in terms),
        ]
        for node in answer.nodes
    ]
    columns = ["NODE", "LABEL", "VERSION", "KM", "RTT ms", "SCORE ms", *(f"{term} ms" for term in terms)]
    show_table(columns, rows, numbers=range(3, len(columns)))
    dim(_in_words(answer))
    return 0


async def _route(args: argparse.Namespace) -> RouteAnswer:
    from deploy.cli.connect import open_client

    async with open_client(args) as client:
        return await client.route(args.model)


def _in_words(answer: RouteAnswer) -> str:
    if answer.place is None:
        where = "from an unknown place (say one with --from)"
    else:
        where = f"from {answer.place.lat:.2f},{answer.place.lon:.2f} ({answer.place_source})"
    return printable(f"{answer.model}, {where}, good for {answer.ttl_s:.0f} s")
