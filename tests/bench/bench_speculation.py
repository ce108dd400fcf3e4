"""What guessed tokens gain and lose, by what is asked: edits, summaries, a pattern, free and drawn text, four at once.

    python tests/bench/bench_speculation.py MODEL.gguf [--quick] [--json FILE]

Two engines in this process with one thread each, one with `guess_tokens=4`, one without, take turns; answers of 64
tokens, which no end token cuts short. A case's figure is tokens for each second of processor time with guesses over
those without, its prompt being read already (processor time, so that other work on the machine counts for little);
`guessed` is how many tokens were computed ahead for each that the answer has. Before that: how long a step of so many
rows takes after 500 tokens, against one of one row.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_report import arguments, finish
from serving_peers import ENDS

from edge_node.engines import ChatMessage, Finished, Generate, Sampling
from edge_node.engines.llama.batch import Decoder
from edge_node.engines.llama.engine import LlamaEngine
from edge_node.engines.llama.library import NativeLog, open_model
from edge_node.engines.llama.memory import KvMemory
from edge_node.engines.llama.slots import Share
from edge_node.engines.spec import EngineSpec

TOKENS_COUNT = 64
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
    "counting": ({"text": "one two three four five six seven eight nine ten " * 8}, 0.0, 1),
    "code_edit": (chat(f"Rename the function to surface, and change nothing else:\n{CODE}"), 0.0, 1),
    "summary": (chat(f"Summarise this article in three sentences.\n\n{ARTICLE}"), 0.0, 1),
    "story": (chat(STORY), 0.0, 1),
    "story_drawn": (chat(STORY), 1.0, 1),
    "code_edit_4_streams": (chat(f"Rename the function to surface, and change nothing else:\n{CODE}"), 0.0, 4),
}  # fmt: skip


def spec(model, **more):
    return EngineSpec(
        kind="llama", name="bench", version="1", model_dir=str(model.parent), files=(model.name,),
        threads_count=1, **more,
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
            began_s = time.process_time()
            share = Share(0, READ_TOKENS, rows_count, wants_scores=True, scores_count=rows_count)
            decoder.decode([share], [range(2000, 2000 + rows_count)])
            runs.append(time.process_time() - began_s)
            memory.forget(0, READ_TOKENS)
    return seconds


def answers(engine, case, seed, *, tokens_count=TOKENS_COUNT):
    """(tokens for each second of all streams together, guessed tokens for each token of the answers)."""
    prompt, temperature, streams_count = CASES[case]
    began_s = time.process_time()
    for at in range(streams_count):
        sampling = Sampling(
            temperature=temperature,
            seed=seed + at,
            max_tokens=tokens_count,
            logit_bias=dict.fromkeys(ENDS, -100.0),
        )
        engine.submit(Generate(request_id=f"{case}{at}", client=str(at), sampling=sampling, **prompt))
    ends = []
    while engine.busy:
        ends += [event for event in engine.step() if isinstance(event, Finished)]
    took_s = time.process_time() - began_s
    written_count = sum(end.completion_tokens for end in ends)
    return written_count / took_s, sum(end.guessed_tokens for end in ends) / written_count


def measure(model, rounds_count):
    """By case, a pair for each round: (speed, guessed) without and with guesses."""
    engines = [LlamaEngine.load(spec(model, guess_tokens=guess_tokens)) for guess_tokens in (0, 4)]
    for engine in engines:
        for name in CASES:  # the prompts are read
            answers(engine, name, 0, tokens_count=1)
    runs = {name: [] for name in CASES}
    for number in range(rounds_count):
        for name, pairs in runs.items():
            # By turns who is first.
            turn = engines if number % 2 == 0 else engines[::-1]
            measured = {engine: answers(engine, name, 100 * number) for engine in turn}
            pairs.append([measured[engine] for engine in engines])
    return runs


def main():
    """Measure, and print the result."""
    model = Path(sys.argv.pop(1)).resolve()
    args = arguments(__doc__.splitlines()[0])
    steps = step_seconds(model, 10 if args.quick else 40)
    runs = measure(model, 1 if args.quick else 4)
    one_row_s = statistics.median(steps[1])
    figures = {
        f"step_{rows}_rows_to_one": statistics.median(seconds) / one_row_s for rows, seconds in steps.items()
    }
    for name, pairs in runs.items():
        figures[f"{name}_speed_ratio"] = statistics.median(guessed[0] / plain[0] for plain, guessed in pairs)
        figures[f"{name}_guessed"] = statistics.median(guessed[1] for _, guessed in pairs)
    required = dict.fromkeys((name for name in figures if name.endswith("speed_ratio")), (">=", 0.95))
    return finish(args.json, figures=figures, required=required, packages=["llama-cpp-python"], runs=runs)


if __name__ == "__main__":
    sys.exit(main())
