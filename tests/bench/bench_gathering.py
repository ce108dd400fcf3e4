"""What it brings to lay the cells of answers that run together side by side again.

    python tests/bench/bench_gathering.py [--quick] [--json FILE]

One engine without a front (SmolLM2-135M, two threads), 16 answers of 224 tokens to prompts of 40 words, all at once: by
turns with and without gathering. Speed-up is the time of all steps without, to that with; the median over pairs.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_report import arguments, finish
from serving_engine import command, spec
from serving_load import prompt_of
from serving_peers import ROOT

from edge_node.engines.child_end import child_environment
from edge_node.engines.llama.engine import LlamaEngine
from edge_node.engines.llama.gathering import Gathering

STREAMS_COUNT = 16
WORDS_COUNT = 40
ANSWER_TOKENS = 224


class Moves:
    """The steps of an engine, and what moving cells took between them."""

    def __init__(self, engine):
        self._engine = engine
        self._gathers = engine._gathering
        self._never = Gathering(engine._sequences, scratch=None, clock=time.monotonic)
        self._seeds = itertools.count(5000)
        self.moving_s = 0.0
        gather = engine._sequences.gather

        def timed(*args, **more):
            began_s = time.perf_counter()
            whole = gather(*args, **more)
            self.moving_s += time.perf_counter() - began_s
            return whole

        engine._sequences.gather = timed

    def seconds(self, *, gathers, streams_count=STREAMS_COUNT, tokens_count=ANSWER_TOKENS):
        """Until all answers are complete."""
        self._engine._gathering = self._gathers if gathers else self._never
        for _ in range(streams_count):
            seed = next(self._seeds)
            self._engine.submit(command(f"r{seed}", prompt_of(WORDS_COUNT, seed), tokens_count))
        began_s = time.perf_counter()
        while self._engine.busy:
            self._engine.step()
        return time.perf_counter() - began_s


def pairs(count):
    """Seconds with and without, of each pair; the one that is first changes."""
    moves = Moves(LlamaEngine.load(spec()))
    moves.seconds(gathers=False, streams_count=2, tokens_count=8)
    got = []
    for number in range(count):
        pair = {}
        for gathers in (True, False) if number % 2 else (False, True):
            moves.moving_s = 0.0
            pair["with_s" if gathers else "without_s"] = moves.seconds(gathers=gathers)
            if gathers:
                pair["moving_s"] = moves.moving_s
        got.append(pair)
    return got


def main():
    flags = arguments(__doc__)
    count = 2 if flags.quick else 8
    # OpenMP reads its settings when a process begins, and the engine's are those of a node's child.
    done = subprocess.run(
        [sys.executable, "-c", f"import json, bench_gathering as b; print(json.dumps(b.pairs({count})))"],
        env=child_environment(os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}, spec()),
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    got = json.loads(done.stdout.splitlines()[-1])
    figures = {
        "speedup_16_streams": round(statistics.median(p["without_s"] / p["with_s"] for p in got), 3),
        "moving_share": round(statistics.median(p["moving_s"] / p["with_s"] for p in got), 4),
    }
    required = {"speedup_16_streams": (">=", 1.0), "moving_share": ("<=", 0.02)}
    return finish(
        flags.json,
        figures=figures,
        required=required,
        packages=["llama-cpp-python"],
        runs=[{name: round(value, 3) for name, value in pair.items()} for pair in got],
    )


if __name__ == "__main__":
    sys.exit(main())
