"""What choosing a token costs with numpy and with llama.cpp's chain, and what a kept cell costs each row of a step.

    python tests/bench/bench_choosing.py MODEL.gguf [--quick] [--json FILE]

Choosing: both ways choose from the same row of real scores, by turns; a figure is the median in microseconds of
processor time (one thread). Cells: one row is decoded while another sequence keeps so many cells, all counts by turns;
`cell_ns_a_head` is the slope of the step's processor time over the kept cells, for each attention head of each layer.
`scattered_512_cells_cost` is the part by which 512 cells lengthen such a step that a quarter of 16 streams left behind:
a step's rows lie next to each other in the cells, so what one stream keeps has those of the others between.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_report import arguments, finish
from llama_cpp import llama_cpp as native

from edge_node.engines import Sampling
from edge_node.engines.llama.array_chooser import ArrayChooser
from edge_node.engines.llama.batch import Decoder
from edge_node.engines.llama.library import NativeLog, open_model
from edge_node.engines.llama.memory import KvMemory
from edge_node.engines.llama.sampler import Sampler
from edge_node.engines.llama.slots import Share
from edge_node.engines.llama.vocabulary import Vocabulary
from edge_node.engines.spec import EngineSpec

KEPT_CELLS = (0, 1024, 2048, 4096)
STEP_TOKENS = 256
STREAMS_COUNT, SCATTERED_CELLS = 16, 512
CASES = {
    "greedy": {"temperature": 0.0},
    "draw": {"temperature": 1.0},
    "top_p": {"temperature": 1.0, "top_p": 0.95},
}


def took_us(choose):
    began_ns = time.process_time_ns()
    choose()
    return (time.process_time_ns() - began_ns) / 1000


def choosing_us(opened, rounds_count):
    """By case and way, microseconds of each choice from the last row of the last step."""
    vocabulary = Vocabulary(opened.model)
    runs = {}
    for case, sampling in ((name, Sampling(**fields)) for name, fields in CASES.items()):
        ways = {
            "numpy": ArrayChooser(sampling, tokens_count=vocabulary.tokens_count, seed=1),
            "chain": Sampler(sampling, vocabulary, seed=1, context_tokens=opened.context_tokens),
        }
        for way in ways:
            runs[f"{case}_{way}"] = []
        for _ in range(rounds_count):
            for way, chooser in ways.items():
                runs[f"{case}_{way}"].append(
                    took_us(lambda chooser=chooser: chooser.choose(opened.context, -1))
                )
        for chooser in ways.values():
            chooser.free()
    return runs


def step_us(opened, decoder, memory, rounds_count):
    """By kept cells, microseconds of a step of one row of another sequence."""
    runs = {count: [] for count in KEPT_CELLS}
    for _ in range(rounds_count):
        memory.forget(0, 0)
        kept_count = 0
        for count, samples in runs.items():
            while kept_count < count:
                share = Share(0, kept_count, STEP_TOKENS, wants_scores=False)
                decoder.decode([share], [range(1000, 1000 + STEP_TOKENS)])
                kept_count += STEP_TOKENS
            for position in range(8):
                row = Share(1, position, 1, wants_scores=True)
                samples.append(took_us(lambda row=row: decoder.decode([row], [[2000]])))
            memory.forget(1, 0)
    return runs


def scattered_us(opened, decoder, memory, rounds_count):
    """Microseconds of a step of one row with nothing kept, and with what some streams of many left behind."""
    kept_streams_count = STREAMS_COUNT // 4
    row = Share(STREAMS_COUNT, 0, 1, wants_scores=True)

    def alone_us():
        for _ in range(8):
            yield took_us(lambda: decoder.decode([row], [[2000]]))
            memory.forget(STREAMS_COUNT, 0)

    runs = {"nothing": [], "scattered": []}
    for _ in range(rounds_count):
        for stream in range(STREAMS_COUNT):
            memory.forget(stream, 0)
        runs["nothing"] += alone_us()
        for position in range(SCATTERED_CELLS // kept_streams_count):
            shares = [Share(stream, position, 1, wants_scores=False) for stream in range(STREAMS_COUNT)]
            decoder.decode(shares, [[1000 + position]] * STREAMS_COUNT)
        for stream in range(kept_streams_count, STREAMS_COUNT):
            memory.forget(stream, 0)
        runs["scattered"] += alone_us()
    return runs


def slope(points):
    """Least squares through (x, y)."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def main():
    """Measure, and print the result."""
    model = Path(sys.argv.pop(1)).resolve()
    args = arguments(__doc__.splitlines()[0])
    spec = EngineSpec(
        kind="llama",
        name="bench",
        version="1",
        model_dir=str(model.parent),
        files=(model.name,),
        threads_count=1,
    )
    opened = open_model(spec, NativeLog(), chunk_tokens=STEP_TOKENS)
    decoder, memory = Decoder(opened.context, batch_tokens=opened.batch_tokens), KvMemory(opened.context)
    steps = step_us(opened, decoder, memory, 2 if args.quick else 20)
    scattered = scattered_us(opened, decoder, memory, 1 if args.quick else 10)
    choices = choosing_us(opened, 50 if args.quick else 1000)
    heads_count = native.llama_model_n_layer(opened.model) * native.llama_model_n_head(opened.model)
    medians = {count: statistics.median(samples) for count, samples in steps.items()}
    figures = {f"{name}_us": statistics.median(samples) for name, samples in choices.items()}
    figures |= {f"step_us_{count}_cells_kept": median for count, median in medians.items()}
    figures["cell_ns_a_head"] = 1000 * slope(list(medians.items())) / heads_count
    quiet_us, scattered_cells_us = (statistics.median(samples) for samples in scattered.values())
    figures["scattered_512_cells_cost"] = scattered_cells_us / quiet_us - 1
    figures["row_ns_for_1000_parameters"] = 1e6 * medians[0] / native.llama_model_n_params(opened.model)
    return finish(
        args.json,
        figures=figures,
        required={},
        packages=("llama-cpp-python", "numpy"),
        runs={
            "choosing_us": choices,
            "step_us": {str(count): samples for count, samples in steps.items()},
            "scattered_us": scattered,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
