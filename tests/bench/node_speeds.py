"""How fast a real node is with the sample model, for simulations: loads, reads and writes are timed, nothing assumed.

The engine is the node's own, in a process of its own, with as many requests at work as it has slots.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from deploy.local.samples import chat_model
from edge_node.engines import Delta, Finished, Generate, Sampling, Started
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec

SLOTS_COUNT = 4
PROMPT_WORDS = 40
ANSWER_TOKENS = 24


async def _answer(engine, number):
    text = " ".join(f"word{number}x{word}" for word in range(PROMPT_WORDS))
    command = Generate(
        request_id=f"r{number}", text=text, sampling=Sampling(max_tokens=ANSWER_TOKENS, temperature=0.0)
    )
    started, first_s, tokens_count = None, 0.0, 0
    async for event in engine.generate(command):
        if isinstance(event, Started):
            started, first_s = event, time.perf_counter()
        elif isinstance(event, Delta):
            tokens_count += event.tokens_count
        elif isinstance(event, Finished):
            break
    return started, (time.perf_counter() - first_s) / max(1, tokens_count)


async def _measured():
    path = chat_model()
    spec = EngineSpec(
        kind="llama", name="m", version="1", model_dir=str(path.parent), files=(path.name,),
        threads_count=2, slots_count=SLOTS_COUNT,
    )  # fmt: skip
    engine = EngineProcess(spec)
    began_s = time.perf_counter()
    await engine.start()
    load_s = time.perf_counter() - began_s
    try:
        await _answer(engine, 0)
        alone = [await _answer(engine, number) for number in range(1, 4)]
        together = await asyncio.gather(*(_answer(engine, 10 + number) for number in range(SLOTS_COUNT)))
    finally:
        await engine.close(2.0)
    return {
        "prefill_tokens_per_s": statistics.median(it.prompt_tokens / it.prefill_s for it, _ in alone),
        "answer_token_s": statistics.median(token_s for _, token_s in together),
        "load_s": load_s,
    }


def measure():
    """The speeds by name, as `tests.world.simulated_nodes.Speeds` takes them.

    Raises:
        FileNotFoundError: the sample model is not installed.
    """
    return asyncio.run(_measured())
