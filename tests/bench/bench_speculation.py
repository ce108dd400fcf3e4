"""What guessed tokens gain and lose, by what is asked: copies, edits, summaries, free text, drawn text, eight at once.

    python tests/bench/bench_speculation.py MODEL.gguf [--quick] [--json FILE]

Two engines with two threads each, one with `guess_tokens=4`, one without, take turns in one run; answers of 96 tokens,
which no end token cuts short. A case's figure is tokens a second with guesses over those without, its prompt being
read already; `guessed` is how many tokens were computed ahead for each that the answer has. Before that, in this
process: how long a step of so many rows takes after 500 tokens, against one of one row.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_report import arguments, finish
from serving_peers import ENDS

from edge_node.engines import ChatMessage, EngineSpec, Finished, Generate, Sampling
from edge_node.engines.llama.batch import Decoder
from edge_node.engines.llama.library import NativeLog, open_model
from edge_node.engines.llama.memory import KvMemory
from edge_node.engines.llama.slots import Share
from edge_node.engines.process import EngineProcess

TOKENS_COUNT = 96
ROWS = (1, 2, 3, 4, 5, 8)
READ_TOKENS = 500

CODE = """def area(shape):
    if shape.kind == "circle":
        return 3.14159 * shape.radius * shape.radius
    if shape.kind == "square":
        return shape.side * shape.side
    if shape.kind == "rectangle":
        return shape.width * shape.height
    raise ValueError(f"no area is known of a {shape.kind}")
"""
ARTICLE = (
    "The port of Vlissingen closed its northern basin on Tuesday after a survey found that the quay wall had moved by "
    "eleven centimetres since the spring. The harbour master, Anna de Wit, said that ships of less than two thousand "
    "tonnes can still use the southern basin, and that larger ones are sent to Terneuzen until the wall is repaired. "
    "The repair will take about nine months and cost fourteen million euros, of which the province pays half. "
)
STORY = "Tell me a story about a fox who wanted to learn how to fly."


def chat(text):
    """A prompt of one user message."""
    return {"messages": (ChatMessage(role="user", content=text),)}


# Name → (prompt, temperature, streams).
CASES = {
    "copy": ({"text": "one two three four five six seven eight nine ten " * 8}, 0.0, 1),
    "code_edit": (chat(f"Rename the function to surface, and change nothing else:\n{CODE}"), 0.0, 1),
    "summary": (chat(f"Summarise this article in three sentences.\n\n{ARTICLE}"), 0.0, 1),
    "story": (chat(STORY), 0.0, 1),
    "story_drawn": (chat(STORY), 1.0, 1),
    "code_edit_8_streams": (chat(f"Rename the function to surface, and change nothing else:\n{CODE}"), 0.0, 8),
    "story_drawn_8_streams": (chat(STORY), 1.0, 8),
}  # fmt: skip


def spec(model, **more):
    return EngineSpec(
        kind="llama", name="bench", version="1", model_dir=str(model.parent), files=(model.name,),
        threads_count=2, **more,
    )  # fmt: skip


def step_seconds(model, rounds_count):
    """Seconds of steps by their rows, all sizes by turns."""
    native_log = NativeLog()
    opened = open_model(spec(model), native_log, chunk_tokens=256)
    decoder, memory = Decoder(opened.context, batch_tokens=opened.batch_tokens), KvMemory(opened.context)
    for start in range(0, READ_TOKENS, 250):
        decoder.decode([Share(0, start, 250, wants_scores=False)], [range(1000 + start, 1250 + start)])
    seconds = {rows_count: [] for rows_count in ROWS}
    for _ in range(rounds_count):
        for rows_count, runs in seconds.items():
            began_s = time.perf_counter()
            share = Share(0, READ_TOKENS, rows_count, wants_scores=True, scores_count=rows_count)
            decoder.decode([share], [range(2000, 2000 + rows_count)])
            runs.append(time.perf_counter() - began_s)
            memory.forget(0, READ_TOKENS)
    return seconds


async def one_answer(engine, request_id, prompt, temperature, seed):
    """The end of one answer."""
    command = Generate(
        request_id=request_id,
        client=request_id,
        sampling=Sampling(
            temperature=temperature,
            seed=seed,
            max_tokens=TOKENS_COUNT,
            logit_bias=dict.fromkeys(ENDS, -100.0),
        ),
        **prompt,
    )
    async with contextlib.aclosing(engine.generate(command)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return event
    raise RuntimeError("an answer without an end")


async def all_answers(engine, case, seed):
    """(tokens a second of all streams together, guessed tokens for each token of the answers)."""
    prompt, temperature, streams_count = CASES[case]
    began_s = time.perf_counter()
    ends = await asyncio.gather(
        *(one_answer(engine, f"{case}{at}", prompt, temperature, seed + at) for at in range(streams_count))
    )
    took_s = time.perf_counter() - began_s
    tokens_count = sum(end.completion_tokens for end in ends)
    return tokens_count / took_s, sum(end.guessed_tokens for end in ends) / tokens_count


async def measure(model, cases, rounds_count):
    """By case, a pair for each round: (speed, guessed) without and with guesses."""
    engines = [EngineProcess(spec(model, guess_tokens=guess_tokens)) for guess_tokens in (0, 4)]
    runs = {name: [] for name in cases}
    try:
        for engine in engines:
            await engine.start()
            for name in cases:  # the prompts are read
                await all_answers(engine, name, 0)
        for number in range(rounds_count):
            for name, pairs in runs.items():
                # By turns who is first.
                turn = engines if number % 2 == 0 else engines[::-1]
                measured = {engine: await all_answers(engine, name, 100 * number) for engine in turn}
                pairs.append([measured[engine] for engine in engines])
    finally:
        for engine in engines:
            await engine.close(10)
    return runs


def main():
    """Measure, and print the result."""
    model = Path(sys.argv.pop(1)).resolve()
    args = arguments(__doc__.splitlines()[0])
    steps = step_seconds(model, 10 if args.quick else 60)
    runs = asyncio.run(measure(model, CASES, 1 if args.quick else 4))
    one_row_s = statistics.median(steps[1])
    figures = {
        f"step_{rows}_rows_to_one": statistics.median(seconds) / one_row_s for rows, seconds in steps.items()
    }
    for name, pairs in runs.items():
        figures[f"{name}_speed_ratio"] = statistics.median(guessed[0] / plain[0] for plain, guessed in pairs)
        figures[f"{name}_guessed"] = statistics.median(guessed[1] for _, guessed in pairs)
    required = dict.fromkeys((name for name in figures if name.endswith("speed_ratio")), (">=", 0.95))
    required["copy_speed_ratio"] = (">=", 1.0)
    return finish(args.json, figures=figures, required=required, packages=["llama-cpp-python"], runs=runs)


if __name__ == "__main__":
    sys.exit(main())
