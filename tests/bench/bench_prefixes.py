"""What a shared system prompt costs the second user: in the same engine, after a restart, and out of a release.

    python tests/bench/bench_prefixes.py MODEL.gguf [--quick] [--json FILE]

One engine process, two threads, greedy answers of one token, a system prompt of about 1,000 tokens. Each round has a
system prompt of its own, so that nothing is left from the round before. Time to first token is taken by the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_report import arguments, finish

from edge_node.engines import ChatMessage, Delta, Finished, Generate, Sampling
from edge_node.engines.prefill import with_prefixes
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec

WORDS = (
    "harbour",
    "master",
    "keeps",
    "ledgers",
    "of",
    "ships",
    "tides",
    "winds",
    "cargo",
    "crews",
    "and",
    "towns",
)


def system_prompt(round_number, words_count=830):
    """About 1,000 tokens that no other round begins with."""
    words = [WORDS[(at * 7 + round_number * 5 + at // 13) % len(WORDS)] for at in range(words_count)]
    return f"You are assistant number {round_number * 7919}. " + " ".join(words)


@contextlib.asynccontextmanager
async def running(model, prefix_dir, **more):
    """A fresh engine that has answered something else before."""
    facts = {"model_dir": str(model.parent), "files": (model.name,)} | more
    spec = EngineSpec(
        kind="llama", name="bench", version="1", threads_count=2, prefix_dir=str(prefix_dir),
        prefix_limit_bytes=1 << 30, **facts,
    )  # fmt: skip
    engine = EngineProcess(spec)
    await engine.start()
    await ask(engine, "warm", "Say nothing.", "Hello?")
    try:
        yield engine
    finally:
        await engine.close(10)


async def ask(engine, name, system, question):
    """(time to first token in s, tokens of the prompt, cached ones)."""
    command = Generate(
        request_id=name, sampling=Sampling(temperature=0.0, max_tokens=4),
        messages=(ChatMessage(role="system", content=system), ChatMessage(role="user", content=question)),
    )  # fmt: skip
    began_s = time.perf_counter()
    first_s, started = None, None
    async for event in engine.generate(command):
        if started is None:
            started = event
        if first_s is None and isinstance(event, Delta | Finished):
            first_s = time.perf_counter() - began_s
    return first_s, started.prompt_tokens, started.cached_tokens


async def one_round(model, number, folder):
    """Times of the first user, the second, and one after a restart."""
    system = system_prompt(number)
    async with running(model, folder) as engine:
        first = await ask(engine, "first", system, "What is the tide in the morning?")
        second = await ask(engine, "second", system, "Which ship came in last?")
        async with asyncio.timeout(30):
            while not list(Path(folder).glob("*.edgekv")):  # noqa: ASYNC110, ASYNC240 - another process makes it
                await asyncio.sleep(0.05)
    async with running(model, folder) as engine:
        restarted = await ask(engine, "third", system, "Who keeps the ledger?")
    return {"first": first, "second": second, "restarted": restarted}


def published_round(model, number, folder):
    """The first user of a release that brings the prefix: time, and the size of the file."""
    prompt = Path(folder, "system.txt")
    prompt.write_text(system_prompt(number))
    linked = Path(folder, model.name)
    linked.symlink_to(model)
    with with_prefixes(linked, [prompt]) as release:
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        facts = {"files": (model.name, "prefixes/system.edgekv"), "files_sha256": (digest, "")}
        size_bytes = (release / "prefixes" / "system.edgekv").stat().st_size
        return {
            "first": asyncio.run(_first_user(release / model.name, prompt.read_text(), facts)),
            "bytes": size_bytes,
        }


async def _first_user(model, system, facts):
    async with running(model, "", **facts) as engine:
        return await ask(engine, "first", system, "Who are you?")


def measure(model, rounds_count):
    """All rounds."""
    rounds, published = [], []
    for number in range(rounds_count):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(asyncio.run(one_round(model, number, folder)))
        with tempfile.TemporaryDirectory() as folder:
            published.append(published_round(model, number, folder))
    return rounds, published


def main():
    """Measure, and print the result."""
    model = Path(sys.argv.pop(1)).resolve()
    args = arguments(__doc__.splitlines()[0])
    rounds, published = measure(model, 1 if args.quick else 3)
    first_s = statistics.median(one["first"][0] for one in rounds)
    tokens = rounds[0]["first"][1]
    file_bytes = published[0]["bytes"]
    published_s = statistics.median(one["first"][0] for one in published)
    figures = {
        "prompt_tokens": tokens,
        "first_ttft_s": first_s,
        "second_to_first_ratio": statistics.median(one["second"][0] / one["first"][0] for one in rounds),
        "restarted_to_first_ratio": statistics.median(
            one["restarted"][0] / one["first"][0] for one in rounds
        ),
        # The second user after a restart of the engine waits for what the disk and its checks take.
        "read_back_ms_per_token": statistics.median(
            1000 * (one["restarted"][0] - one["second"][0]) / one["restarted"][2] for one in rounds
        ),
        "published_ttft_s": published_s,
        "published_bytes_per_token": file_bytes / tokens,
        # On a slower line than this, reading the prompt here would have been quicker than fetching its prefix.
        "published_break_even_mbit_per_s": file_bytes * 8 / 1e6 / (first_s - published_s),
    }
    required = {"second_to_first_ratio": ("<=", 0.12), "restarted_to_first_ratio": ("<=", 0.25)}
    return finish(
        args.json, figures=figures, required=required, packages=["llama-cpp-python"],
        runs={"rounds": rounds, "published": published},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
