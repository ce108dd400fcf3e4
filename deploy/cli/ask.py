"""`edgeward ask`: an answer streams to standard output; which node gave it, and how quickly, to standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from deploy.cli.connect import add_client_arguments
from deploy.cli.terminal import add_json_argument, dim, passing, show_json

if TYPE_CHECKING:
    import argparse
    from contextlib import AsyncExitStack

    from edge_node.client import AsyncClient, TextStream, Waiting

DESCRIPTION = """\
Ask a chat model. The origin ranks the nodes for the place you ask from; the best one answers, directly. The
answer streams to standard output; then one line on standard error says which node it was, how far away, and
the time to the first token as you waited it."""

EXAMPLES = """\
  edgeward ask "Name three rivers of France."
  edgeward ask "Name three rivers of France." --from tokyo
  edgeward ask "Write a haiku." --model chat:canary --max-tokens 60 --temperature 0 --from 48.86,2.35
  edgeward ask "Where is the Louvre? As JSON." --json-schema place.json --seed 7
  echo "Summarise: …" | edgeward ask -"""

_DEFAULT_TOKENS = 512
"""Some 400 words. A small model that does not find an end would otherwise write until its context is full; the API
itself, as OpenAI's, has no such limit."""

_NOT_WRITTEN_NOW = {"hit": "kept answer", "coalesced": "answer already under way"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("prompt", metavar="TEXT", help="what to ask; - reads standard input")
    parser.add_argument(
        "--model", metavar="REF", help="chat, chat:canary or chat@1.2.0 (default: the only chat model)"
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help=f"stop after so many tokens (default: {_DEFAULT_TOKENS}); 0: only where the model ends, or its context",
    )
    parser.add_argument("--temperature", type=float, metavar="T", help="0 always takes the likeliest token")
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed chooses the same tokens")
    parser.add_argument(
        "--deterministic", action="store_true", help="the same tokens whoever else is served meanwhile"
    )
    parser.add_argument(
        "--json-schema", metavar="FILE", help="answer in JSON that satisfies the schema in this file"
    )
    parser.add_argument("--system", metavar="TEXT", help="instructions to put before the prompt")
    add_client_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask; returns the exit code."""
    import asyncio

    from registry.errors import InputInvalidError

    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    if not prompt.strip():
        raise InputInvalidError("the prompt is empty; say what to ask, or - and give it on standard input")
    return asyncio.run(_ask(args, prompt))


async def _ask(args: argparse.Namespace, prompt: str) -> int:
    from contextlib import AsyncExitStack

    from deploy.cli.connect import open_client

    system = [{"role": "system", "content": args.system}] if args.system else []
    messages = [*system, {"role": "user", "content": prompt}]
    sampling = _sampling(args)
    async with open_client(args) as client, AsyncExitStack() as stack:
        begun = False
        try:
            stream = await _begun(stack, client, messages, args, sampling)
            async for piece in stream:
                passing("")
                if not args.json:
                    print(piece.text, end="", flush=True)
                    begun = begun or bool(piece.text)
        finally:
            passing("")
            if begun:
                print(flush=True)
    if args.json:
        show_json(
            {
                "text": stream.text,
                "finish_reason": stream.finish_reason,
                "model": stream.model,
                "usage": stream.usage,
                "served": stream.served,
            }
        )
    else:
        dim(_in_words(stream))
        if stream.finish_reason == "length" and args.max_tokens is None:
            dim("cut off at its length; --max-tokens N allows more, 0 as much as the model has room for")
    return 0


def _sampling(args: argparse.Namespace) -> dict[str, Any]:
    wanted = {
        "max_tokens": _DEFAULT_TOKENS if args.max_tokens is None else args.max_tokens or None,
        "temperature": args.temperature,
        "seed": args.seed,
        "deterministic": args.deterministic or None,
        "response_format": _format(args.json_schema) if args.json_schema else None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


async def _begun(
    stack: AsyncExitStack,
    client: AsyncClient,
    messages: list[dict[str, str]],
    args: argparse.Namespace,
    sampling: dict[str, Any],
) -> TextStream:
    """The answer's stream; a limit that nobody asked for is no reason to refuse a long prompt."""
    from edge_node.errors import PromptTooLongError

    while True:
        stream = await stack.enter_async_context(client.stream_chat(messages, model=args.model, **sampling))
        if not args.json:
            stream.on_waiting = lambda waiting: passing(_waiting_in_words(waiting))
        try:
            await stream.open()
        except PromptTooLongError:
            if args.max_tokens is not None or sampling.pop("max_tokens", None) is None:
                raise
        else:
            return stream


def _format(path: str) -> dict[str, Any]:
    import json
    from pathlib import Path

    from registry.errors import InputInvalidError

    try:
        schema = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputInvalidError(f"cannot read the schema {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputInvalidError(f"the schema {path} is not JSON: {error}") from error
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def _waiting_in_words(waiting: Waiting) -> str:
    if waiting.state == "reading":
        return f"reading the question: {waiting.percent or 0} %"
    words = waiting.state
    if waiting.place:
        words += f", {waiting.place} before this one"
    return words + (f", about {waiting.eta_s:.0f} s" if waiting.eta_s else "")


def _in_words(stream: TextStream) -> str:
    served = stream.served
    named = f"{served.label} ({served.node_id})" if served.label else served.node_id
    parts = [named, served.release]
    if served.distance_km is not None:
        parts += [f"{served.distance_km:,.0f} km", f"RTT ~{served.rtt_ms:.0f} ms"]
    parts += [f"first token after {served.ttft_ms:.0f} ms"]
    tokens_count = stream.usage.completion_tokens if stream.usage else 0
    if tokens_count:
        parts.append(f"{tokens_count} tokens")
        writing_s = (served.total_ms - served.ttft_ms) / 1000
        # Only of tokens that were written while we listened is there a rate.
        if served.cache in _NOT_WRITTEN_NOW:
            parts.append(_NOT_WRITTEN_NOW[served.cache])
        elif tokens_count > 1 and writing_s > 0:
            parts.append(f"{(tokens_count - 1) / writing_s:.1f} tokens/s")
    if served.attempts > 1:
        parts.append(f"{served.attempts} attempts ({'; '.join(served.refusals)})")
    return " · ".join(part for part in parts if part)
