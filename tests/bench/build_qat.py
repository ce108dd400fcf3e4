"""Training on the served codes of Q4_0: how much of what rounding cost comes back, in how much time on a CPU."""

from __future__ import annotations

from bench_part import Part
from build_runs import build

REQUIRED = {"qat_gap_closed": (">=", 0.55), "qat_minutes": ("<=", 20.0)}


def measure(place, *, quick):
    built = build("qat", place)
    plain, trained = (built.figure(name, "perplexity") for name in ("plain", "trained"))
    source = plain / built.figure("plain", "perplexity_ratio")
    figures = {
        "qat_source_perplexity": round(source, 3),
        "qat_plain_perplexity": round(plain, 3),
        "qat_trained_perplexity": round(trained, 3),
        "qat_gap_closed": round((plain - trained) / (plain - source), 3),
        "qat_plain_kl": round(built.figure("plain", "kl_mean"), 4),
        "qat_trained_kl": round(built.figure("trained", "kl_mean"), 4),
        "qat_minutes": round(built.took_s["trained"] / 60, 1),
        "qat_mb": round(built.megabytes("trained"), 2),
    }
    return Part(
        figures=figures, required=REQUIRED, runs=[{"variants": built.variants, "took_s": built.took_s}]
    )
