"""`edgeward embed`: texts become vectors, made by the nearest node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.connect import add_client_arguments
from deploy.cli.terminal import add_json_argument, dim, show_json

if TYPE_CHECKING:
    import argparse

    from edge_node.client import Embeddings

DESCRIPTION = """\
Turn texts into vectors with an embedding model. Without --json each line shows a vector's first numbers; with
several texts a second part shows how alike they are (cosine, 1 is the same direction)."""

EXAMPLES = """\
  edgeward embed "a cat on a mat" "a kitten on a rug" "the stock market"
  edgeward embed "a cat on a mat" --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="what to embed")
    parser.add_argument(
        "--model", metavar="REF", help="embed, embed@1.0.0 or embed#SPACE (default: the only embedding model)"
    )
    add_client_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Embed; returns the exit code."""
    import asyncio

    vectors = asyncio.run(_embed(args))
    if args.json:
        show_json(
            {
                "model": vectors.model,
                "space_id": vectors.space_id,
                "vectors": list(vectors),
                "usage": vectors.usage,
                "served": vectors.served,
            }
        )
        return 0
    for text, vector in zip(args.texts, vectors, strict=True):
        print(
            f"[{', '.join(f'{number:+.4f}' for number in vector[:4])}, …] {len(vector)} numbers  {text[:60]}"
        )
    for i, one in enumerate(vectors):
        for j in range(i + 1, len(vectors)):
            alike = sum(a * b for a, b in zip(one, vectors[j], strict=True))
            print(f"{alike:+.3f}  {args.texts[i][:40]}  ~  {args.texts[j][:40]}")
    dim(f"{vectors.served.label or vectors.served.node_id} · {vectors.served.total_ms:.0f} ms")
    return 0


async def _embed(args: argparse.Namespace) -> Embeddings:
    from deploy.cli.connect import open_client

    async with open_client(args) as client:
        return await client.embed(args.texts, model=args.model)
