"""Engines that share a machine: tokens a second of one engine alone, and of three at once with one thread each.

The question behind it: do the nodes of a local network starve one another? With one thread each, three engines on
two cores should each get about two thirds of what one gets alone. Two threads each are measured as the peer.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import bench_report

from deploy.local.samples import chat_model
from edge_node.engines import Delta, Generate, Sampling
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec
from registry.log import configure_logging

PROMPT = "Once upon a time"


def spec(threads_count):
    path = chat_model()
    return EngineSpec(
        kind="llama", name="chat", version="1", model_dir=str(path.parent), files=(path.name,),
        threads_count=threads_count, context_tokens=1024,
    )  # fmt: skip


async def tokens_per_s(engine, tokens_count, request_id):
    """Decoding speed between the first and the last token of one request."""
    sampling = Sampling(max_tokens=tokens_count, temperature=0.0)
    first_s = last_s = 0.0
    seen = 0
    async for event in engine.generate(Generate(request_id=request_id, text=PROMPT, sampling=sampling)):
        if isinstance(event, Delta):
            last_s = time.perf_counter()
            first_s = first_s or last_s
            seen += event.tokens_count
    return (seen - 1) / (last_s - first_s)


async def measure(engines_count, threads_count, tokens_count, runs_count):
    """One list of speeds for each run, an entry an engine."""
    engines = [EngineProcess(spec(threads_count)) for _ in range(engines_count)]
    for engine in engines:
        await engine.start()
    try:
        return [
            await asyncio.gather(
                *(tokens_per_s(e, tokens_count, f"r{run}-{i}") for i, e in enumerate(engines))
            )
            for run in range(runs_count)
        ]
    finally:
        await asyncio.gather(*(engine.close(5.0) for engine in engines))


async def run_all(quick):
    tokens_count, runs_count = (40, 1) if quick else (150, 5)
    runs = {}
    for threads_count in (1, 2):
        # Two spinning threads an engine may take minutes for what one does in a second.
        many_tokens = tokens_count if threads_count == 1 else min(tokens_count, 20)
        runs[f"alone_{threads_count}"] = await measure(1, threads_count, tokens_count, runs_count)
        runs[f"three_{threads_count}"] = await measure(
            3, threads_count, many_tokens, 1 if threads_count > 1 else runs_count
        )
    return runs


def main():
    options = bench_report.arguments(__doc__.splitlines()[0])
    configure_logging(service="bench", level="warning")
    runs = asyncio.run(run_all(options.quick))
    alone = {t: statistics.median(run[0] for run in runs[f"alone_{t}"]) for t in (1, 2)}
    total = {t: statistics.median(sum(run) for run in runs[f"three_{t}"]) for t in (1, 2)}
    slowest = {t: statistics.median(min(run) for run in runs[f"three_{t}"]) for t in (1, 2)}
    figures = {
        "alone_tokens_per_s": round(alone[1], 1),
        "three_at_once_total_tokens_per_s": round(total[1], 1),
        "slowest_of_three_to_alone_ratio": round(slowest[1] / alone[1], 3),
    }
    peers = {
        "two_threads_each": {
            "alone_tokens_per_s": round(alone[2], 1),
            "three_at_once_total_tokens_per_s": round(total[2], 1),
            "slowest_of_three_to_alone_ratio": round(slowest[2] / alone[2], 3),
        }
    }
    return bench_report.finish(
        options.json, figures=figures, peers=peers, runs=runs, packages=["llama-cpp-python"],
        # Two cores and three engines: two thirds would be a perfect share.
        required={"slowest_of_three_to_alone_ratio": (">=", 0.4)},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
