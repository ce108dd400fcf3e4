"""How fast a real node is with the sample model, for simulations: loads, reads and writes are timed, nothing assumed.

The engine is the node's own, in a process of its own. A step of answers is timed with one, two, four … of them at work,
from when all have begun until the first has ended; a prompt by what its engine says went into reading it.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time

from deploy.local.samples import chat_model
from edge_node.engines import Delta, Finished, Generate, Sampling, Started
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec

BATCHES = (1, 2, 4, 8, 16)
PROMPT_WORDS = 12
ANSWER_TOKENS = 32


async def _answer(engine, number):
    """When it began and ended, when it wrote how many tokens, and what the engine said of its prompt."""
    text = " ".join(f"word{number}x{word}" for word in range(PROMPT_WORDS))
    sampling = Sampling(max_tokens=ANSWER_TOKENS, temperature=0.0)
    started, wrote = None, []
    async for event in engine.generate(Generate(request_id=f"r{number}", text=text, sampling=sampling)):
        if isinstance(event, Started):
            started = event
        elif isinstance(event, Delta):
            wrote.append((time.perf_counter(), event.tokens_count))
        elif isinstance(event, Finished):
            break
    return started, wrote


def _step_s(answers):
    """The time of a step while all of these write."""
    since_s = max(wrote[0][0] for _, wrote in answers)
    until_s = min(wrote[-1][0] for _, wrote in answers)
    counts = [sum(count for at_s, count in wrote if since_s < at_s <= until_s) for _, wrote in answers]
    return (until_s - since_s) / statistics.mean(counts)


async def _measured():
    path = chat_model()
    spec = EngineSpec(
        kind="llama", name="m", version="1", model_dir=str(path.parent), files=(path.name,),
        threads_count=2, slots_count=max(BATCHES),
    )  # fmt: skip
    engine = EngineProcess(spec)
    began_s = time.perf_counter()
    await engine.start()
    load_s = time.perf_counter() - began_s
    numbers = itertools.count()
    try:
        await _answer(engine, next(numbers))
        rates, steps_s = [], []
        for size in BATCHES:
            samples = []
            for _ in range(2):
                answers = await asyncio.gather(*(_answer(engine, next(numbers)) for _ in range(size)))
                rates += [(it.prompt_tokens - it.cached_tokens) / it.read_s for it, _ in answers]
                samples.append(_step_s(answers))
            steps_s.append((size, statistics.median(samples)))
    finally:
        await engine.close(2.0)
    return {
        "prefill_tokens_per_s": statistics.median(rates),
        "answer_steps_s": tuple(steps_s),
        "load_s": load_s,
    }


def measure():
    """The speeds by name, as `tests.world.simulated_nodes.Speeds` takes them.

    Raises:
        FileNotFoundError: the sample model is not installed.
    """
    return asyncio.run(_measured())
