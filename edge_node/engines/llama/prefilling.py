"""The child that computes a release's own prefixes, with the code that serves: `python -m` with one JSON argument."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

from edge_node.engines import ChatMessage, Generate
from edge_node.engines.llama.batch import Decoder, Outcome
from edge_node.engines.llama.library import NativeLog, gguf_path, open_model
from edge_node.engines.llama.memory import KvMemory
from edge_node.engines.llama.prefix_file import encode_head, head_of
from edge_node.engines.llama.prefix_identity import prefix_identity
from edge_node.engines.llama.prefix_tree import common_prefix_count
from edge_node.engines.llama.prompts import PromptReader
from edge_node.engines.llama.slots import Share
from edge_node.engines.llama.vocabulary import Vocabulary
from edge_node.engines.prefill import PrefillOrder
from edge_node.errors import EngineFailedError
from registry.errors import EdgewardError
from registry.wire import from_json

_CHUNK_TOKENS = 128


def prefill(order: PrefillOrder) -> int:
    """Compute a system prompt's keys and values and write them; how many tokens they are of.

    Raises:
        EngineFailedError: the model cannot be loaded, has no chat template, or cannot read the prompt.
    """
    spec = order.spec
    opened = open_model(spec, NativeLog(), chunk_tokens=_CHUNK_TOKENS)
    if not opened.copies_parts:
        raise EngineFailedError(
            "a recurrent model's state cannot be shared in parts: publish it without --prefix"
        )
    tokens = _system_tokens(order, PromptReader(
        Vocabulary(opened.model), opened.template, context_tokens=opened.context_tokens
    ))  # fmt: skip
    decoder = Decoder(opened.context, batch_tokens=opened.batch_tokens)
    for start in range(0, len(tokens), _CHUNK_TOKENS):
        part = tokens[start : start + _CHUNK_TOKENS]
        if decoder.decode([Share(0, start, len(part), wants_scores=False)], [part]) is not Outcome.DONE:
            raise EngineFailedError("llama.cpp could not read the system prompt")
    payload = KvMemory(opened.context).save(0)
    head = head_of(prefix_identity(spec, gguf_path(spec)), None, 0, tokens, payload)
    Path(order.target).write_bytes(encode_head(head) + payload)
    return len(tokens)


def _system_tokens(order: PrefillOrder, reader: PromptReader) -> list[int]:
    """What all chats with this system prompt begin with: two chats that differ at once show where that ends."""
    today = dt.datetime.now(dt.UTC).date()
    prompts = []
    # A template may print the date: two of them, and nothing that changes tomorrow is published.
    for question, day in (("Why?", today), ("1 more thing", today + dt.timedelta(days=40))):
        turns = (
            ChatMessage(role="system", content=order.system),
            ChatMessage(role="user", content=question),
        )
        prompts.append(reader.tokens(Generate(request_id="prefill", messages=turns), today=day))
    tokens = prompts[0][: common_prefix_count(prompts[0], prompts[1])]
    if not tokens:
        raise EngineFailedError("chats with this system prompt have no beginning in common")
    return tokens


def main(argument: str) -> int:
    """Run one order; the number of tokens goes to stdout, a failure's reason to stderr."""
    try:
        count = prefill(from_json(argument.encode(), PrefillOrder))
    except EdgewardError as error:
        sys.stderr.write(f"\n{error.message}\n")
        return 1
    sys.stdout.write(f"{count}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
