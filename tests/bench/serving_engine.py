"""The engine without a front, for bench_serving: stepped in a loop, and cancelled in the middle of a prompt."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import time

from serving_peers import CONTEXT_TOKENS, ENDS, ROOT, THREADS_COUNT

from deploy.local.samples import chat_model
from edge_node.engines import Generate, Progress, Sampling, Started
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec

BARE = """
import sys, time, msgspec
from edge_node.engines import Finished, Generate
from edge_node.engines.spec import EngineSpec
from edge_node.engines.llama.engine import LlamaEngine
spec, warm, *requests = msgspec.json.decode(sys.stdin.buffer.read(), type=list[msgspec.Raw])
engine = LlamaEngine.load(msgspec.json.decode(spec, type=EngineSpec))
def run(requests):
    tokens_count, started_s = 0, time.perf_counter()
    for request in requests:
        engine.submit(msgspec.json.decode(request, type=Generate))
    while engine.busy:
        tokens_count += sum(e.completion_tokens for e in engine.step() if isinstance(e, Finished))
    return tokens_count / (time.perf_counter() - started_s)
run([warm])
print(run(requests))
"""


def spec(**more):
    path = chat_model()
    return EngineSpec(
        kind="llama", name="m", version="1", model_dir=str(path.parent), files=(path.name,),
        threads_count=THREADS_COUNT, context_tokens=CONTEXT_TOKENS, **more,
    )  # fmt: skip


def command(request_id, prompt, tokens_count, **more):
    sampling = Sampling(max_tokens=tokens_count, temperature=0.0, logit_bias=dict.fromkeys(ENDS, -100.0))
    return Generate(request_id=request_id, text=prompt, sampling=sampling, **more)


def bare_tokens_per_s(prompts, tokens_count):
    """Aggregate speed of the engine's own loop in a process like the child's, all prompts at once."""
    import msgspec

    from edge_node.engines.child_end import child_environment

    requests = [command(f"r{number}", prompt, tokens_count) for number, prompt in enumerate(prompts)]
    warm = command("warm", "Once upon a time", 8)
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        input=msgspec.json.encode([spec(), warm, *requests]),
        env=child_environment(os.environ | {"PYTHONPATH": str(ROOT)}, spec()),
        capture_output=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


async def cancelled_in_chunks(long_prompt, brief_prompt):
    """From a cancel in the middle of a prompt until the only slot is another's, in chunks of that prompt."""
    engine = EngineProcess(spec(slots_count=1))
    await engine.start()
    try:
        reading = engine.generate(command("long", long_prompt, 4, reports_progress=True))
        times_s = []
        async for event in reading:
            if isinstance(event, Progress) and event.read_tokens:
                times_s.append(time.monotonic())
                if len(times_s) == 2:
                    waiting = asyncio.create_task(_begun(engine, command("brief", brief_prompt, 2)))
                if len(times_s) == 5:
                    break
        # In the middle of the next chunk.
        chunk_s = statistics.median(b - a for a, b in itertools.pairwise(times_s))
        await asyncio.sleep(chunk_s / 2)
        cancelled_s = time.monotonic()
        await reading.aclose()
        begun_s = await waiting
        return max(0.0, begun_s - cancelled_s) / chunk_s
    finally:
        await engine.close(5)


async def _begun(engine, request):
    """When a request was admitted, on the clock that the processes share."""
    async with contextlib.aclosing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, Started):
                return time.monotonic() - event.prefill_s
    raise AssertionError("it ends in another way")
