"""`edgeward route`: the nodes that would answer, best first, with every term of their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_client_arguments
from deploy.cli.terminal import add_json_argument, counted, dim, printable, show_json, show_table

if TYPE_CHECKING:
    import argparse

    from origin.api import RankedNode, RouteAnswer

DESCRIPTION = """\
Show how the origin ranks the nodes for a model and a place, and why. A score is the expected time to the first token;
the columns after it are the terms that it is the sum of, in milliseconds. Nothing is sent to any node."""

EXAMPLES = """\
  edgeward route
  edgeward route --model chat:canary --from tokyo
  edgeward route --from paris --all
  edgeward route --from 48.86,2.35 --prompt-tokens 2000 --json
  edgeward route --model chat --prompt-file system.txt"""

_REASONS = {
    "nearest": "it is the nearest",
    "load": "a nearer one would answer later",
    "spread": "among equals a hash of model and session decides",
    "explore": "one request in a hundred tries a node that is not the best, to learn of it",
    "no_place": "the client's place is unknown, so load alone decides",
}
_PLACES = {
    "stated": "as it says",
    "learned": "worked out from its round trips",
    "mmdb": "by its address",
    "region": "the middle of its country",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument(
        "--model", metavar="REF", help="chat, chat:canary or chat@1.2.0 (default: the only chat model)"
    )
    parser.add_argument(
        "--prompt-tokens", type=int, default=0, metavar="N", help="how long the prompt is (default: 0)"
    )
    parser.add_argument(
        "--prompt-file",
        metavar="FILE",
        help="what nodes have read of this prompt counts: a system prompt, or the JSON body of a chat request",
    )
    parser.add_argument(
        "--all", action="store_true", help="all candidates, and of every other node why it is none"
    )
    add_client_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and show; returns the exit code."""
    import asyncio

    from registry.errors import InputInvalidError

    if args.prompt_tokens < 0:
        raise InputInvalidError(
            f"--prompt-tokens {args.prompt_tokens}: it must be 0 or more", param="prompt_tokens"
        )
    answer = asyncio.run(_route(args))
    if args.json:
        show_json(answer)
        return 0
    nodes = answer.nodes if args.all else answer.nodes[:4]
    columns, rows = _table(nodes)
    show_table(columns, rows, numbers=[3, 4, *range(6, len(columns))])
    if args.all and answer.left_out:
        print()
        show_table(["LEFT OUT", "LABEL", "WHY"], [[it.node_id, it.label, it.why] for it in answer.left_out])
    dim(in_words(answer))
    if not args.all and answer.left_out:
        dim(f"{counted(len(answer.left_out), 'node')} left out; --all says why")
    return 0


def _table(nodes: tuple[RankedNode, ...]) -> tuple[list[str], list[list[str]]]:
    # Terms may differ from node to node and will grow: the answer itself says which there are.
    terms = list(dict.fromkeys(term for node in nodes for term in node.terms_s))
    rows = [
        [
            node.node_id,
            node.label,
            node.version,
            "?" if node.distance_km is None else f"{node.distance_km:,.0f}",
            f"{node.rtt_ms:.0f}",
            node.rtt_source,
            f"{node.score_s * 1000:.0f}",
            *(f"{node.terms_s[term] * 1000:.0f}" if term in node.terms_s else "-" for term in terms),
        ]
        for node in nodes
    ]
    return [
        "NODE",
        "LABEL",
        "VERSION",
        "KM",
        "RTT ms",
        "BY",
        "SCORE ms",
        *(f"{term} ms" for term in terms),
    ], rows


async def _route(args: argparse.Namespace) -> RouteAnswer:
    from deploy.cli.connect import open_client
    from origin.api import RouteQuery
    from origin.client import OriginClient

    async with (
        open_client(args) as client,
        OriginClient(client.config.origin, api_key=client.config.api_key) as origin,
    ):
        model = args.model or await client.only_model("chat")
        query = RouteQuery(
            model=model,
            place=client.place,
            prompt_tokens=args.prompt_tokens,
            turns=_turns(args.prompt_file) if args.prompt_file else (),
            explains=True,
        )
        return await origin.route(query)


def _turns(path: str) -> tuple[tuple[str, str], ...]:
    """The prompt in a file, as turns."""
    from pathlib import Path

    from msgspec import json

    from origin.web.prompts import OpenAIRequest, chat_turns
    from registry.bodies import JSON_TYPE
    from registry.errors import InputInvalidError
    from registry.wire import from_json

    try:
        data = Path(path).read_bytes()
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputInvalidError(f"cannot read the prompt {path}: {error}", param="prompt_file") from error
    if not text.lstrip().startswith("{"):
        return (("system", text),)
    body = from_json(data, dict)
    asked = from_json(json.encode({"model": ""} | body), OpenAIRequest)
    turns, whole = chat_turns(asked, JSON_TYPE)
    if not whole or not turns:
        raise InputInvalidError(
            f"{path} is no chat request with `messages`, or one that is too long", param="prompt_file"
        )
    return tuple(turns)


def in_words(answer: RouteAnswer) -> str:
    """What was asked from where, and why the first node is first."""
    if answer.place is None and answer.place_source == "none":
        where = "from an unknown place (say one with --from)"
    else:
        point = "" if answer.place is None else f" {answer.place.lat:.2f},{answer.place.lon:.2f}"
        where = f"from{point} ({_PLACES.get(answer.place_source, answer.place_source)})"
    why = f"{answer.nodes[0].node_id} is first: {_REASONS.get(answer.reason, answer.reason)}"
    return printable(f"{answer.model}, {where}; {why}; good for {answer.ttl_s:.0f} s")
