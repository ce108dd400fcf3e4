"""What guessed tokens gain and lose: an answer that repeats its prompt, one that does not, and eight at once.

    python tests/bench/bench_speculation.py MODEL.gguf [--quick] [--json FILE]

Two engines with two threads each, one with `guess_tokens=4`, one without, take turns in one run; greedy answers of 96
tokens. Figures are tokens a second with guesses over those without.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_report import arguments, finish

from edge_node.engines import EngineSpec, Finished, Generate, Sampling
from edge_node.engines.process import EngineProcess

REPEATING = "one two three four five six seven eight nine ten " * 8
PLAIN = "The ships came in with the tide, and the harbour master"
TOKENS_COUNT = 96


async def speed(engine, prompt, streams_count):
    """Tokens a second of all streams together, decoding alone."""

    async def one(name):
        command = Generate(
            request_id=name,
            text=prompt,
            client=name,
            sampling=Sampling(temperature=0.0, max_tokens=TOKENS_COUNT),
        )
        async for event in engine.generate(command):
            if isinstance(event, Finished):
                return event.completion_tokens
        return 0

    await asyncio.gather(*(one(f"s{at}") for at in range(streams_count)))  # the prompt is read
    began_s = time.perf_counter()
    counts = await asyncio.gather(*(one(f"s{at}") for at in range(streams_count)))
    return sum(counts) / (time.perf_counter() - began_s)


async def measure(model, rounds_count):
    """Speeds by case, without and with guesses, in turns."""
    engines = [
        EngineProcess(
            EngineSpec(
                kind="llama", name="bench", version="1", model_dir=str(model.parent), files=(model.name,),
                threads_count=2, guess_tokens=guess_tokens,
            )
        )
        for guess_tokens in (0, 4)
    ]  # fmt: skip
    cases = {"repeating": (REPEATING, 1), "plain": (PLAIN, 1), "repeating_8_streams": (REPEATING, 8)}
    runs = {name: [] for name in cases}
    try:
        for engine in engines:
            await engine.start()
        for _ in range(rounds_count):
            for name, (prompt, streams_count) in cases.items():
                runs[name].append([await speed(engine, prompt, streams_count) for engine in engines])
    finally:
        for engine in engines:
            await engine.close(10)
    return runs


def main():
    """Measure, and print the result."""
    model = Path(sys.argv.pop(1)).resolve()
    args = arguments(__doc__.splitlines()[0])
    runs = asyncio.run(measure(model, 1 if args.quick else 5))
    figures = {
        f"{name}_speed_ratio": statistics.median(guessed / plain for plain, guessed in pairs)
        for name, pairs in runs.items()
    }
    required = dict.fromkeys(figures, (">=", 0.95))
    return finish(args.json, figures=figures, required=required, packages=["llama-cpp-python"], runs=runs)


if __name__ == "__main__":
    sys.exit(main())
