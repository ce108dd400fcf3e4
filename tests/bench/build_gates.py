"""The default gate on models spoiled on purpose: all of them refused, and those that are well let through."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench_part import Part
from build_runs import build

from origin.build.evaluate.evaluation import EvaluationWork, evaluate
from origin.build.gates import judge
from origin.build.step import Artifact
from origin.build.texts import read_texts
from tests.origin.build.spoiling import SPOILED_GGUF, SPOILED_ONNX, spoil_gguf, spoil_onnx

WELL = {"chat": ("full", "eight"), "encoder": ("eight",)}
BADLY_MADE = {"chat": ("minus_two", "zeros", "q4_0"), "encoder": ("by_tensor", "static", "other")}
REQUIRED = {"gates_refused_share": (">=", 1.0), "gates_let_through_share": (">=", 1.0)}
TOKENS_COUNT = 2048
TEXTS_COUNT = 500


def measure(place, *, quick):
    rows = [*_chat(place), *_encoder(place)]
    bad = [row for row in rows if row["spoiled"]]
    well = [row for row in rows if not row["spoiled"]]
    figures = {
        "gates_spoiled_count": len(bad),
        "gates_refused_share": round(sum(not row["passed"] for row in bad) / len(bad), 3),
        "gates_let_through_share": round(sum(row["passed"] for row in well) / len(well), 3),
    }
    return Part(figures=figures, required=REQUIRED, runs=rows)


def _chat(place):
    built = build("gates_chat", place)
    yield from _as_built("chat", built)
    texts = read_texts("judge", [place.data / "wiki_eval.jsonl", place.data / "imdb_eval.jsonl"])
    good = Path(built.variants["eight"]["directory"])
    full = Path(built.variants["full"]["directory"])
    for how in SPOILED_GGUF:
        with tempfile.TemporaryDirectory() as folder:
            spoil_gguf(good / "model.gguf", Path(folder, "model.gguf"), how)
            yield _judged("chat", how, Path(folder), full, texts, place)


def _encoder(place):
    built = build("gates_encoder", place)
    yield from _as_built("encoder", built)
    texts = read_texts("judge", [place.data / "sentences_eval.jsonl"], seed=13, limit_count=TEXTS_COUNT)
    good = Path(built.variants["eight"]["directory"])
    for how in SPOILED_ONNX:
        with tempfile.TemporaryDirectory() as folder:
            spoiled = spoil_onnx(good, Path(folder, "spoiled"), how)
            yield _judged("encoder", how, spoiled, place.data / "minilm", texts, place)


def _as_built(model, built):
    """What recipes made badly, without anything being broken."""
    for name in (*WELL[model], *BADLY_MADE[model]):
        variant = built.variants[name]
        yield {
            "model": model,
            "how": name,
            "spoiled": name not in WELL[model],
            "passed": variant["passed"],
            "reasons": variant["reasons"],
        }


def _judged(model, how, candidate, reference, texts, place):
    kinds = ("gguf", "gguf") if model == "chat" else ("onnx", "bert")
    work = EvaluationWork(
        kept=place.workspace / "gates",
        seed=7,
        report=lambda _: None,
        speeds=False,
        tokens_count=TOKENS_COUNT,
    )
    evaluation = evaluate(
        Artifact(how, kinds[0], candidate), Artifact(model, kinds[1], reference), texts, (), work
    )
    verdict = judge(evaluation, None)
    return {
        "model": model,
        "how": how,
        "spoiled": True,
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
    }
