"""The chat model in small forms: how near to the source for how many bytes, and how fast."""

from __future__ import annotations

from bench_part import Part
from build_runs import build

from origin.build.evaluate.figures import Evaluation
from origin.build.gates import judge

VARIANTS = ("usual", "mix106", "small92", "small84", "healed")
UNTRAINED = ("usual", "mix106")
REQUIRED = {
    "chat_mix106_mb": ("<=", 106.0),
    "chat_mix106_kl": ("<=", 0.030),
    "chat_small92_mb": ("<=", 92.0),
    "chat_small92_kl": ("<=", 0.080),
    "chat_small92_top1": (">=", 0.84),
    "chat_small84_mb": ("<=", 84.0),
    "chat_small84_kl": ("<=", 0.100),
    "chat_small84_decode_speedup_over_q4_k_m": (">=", 1.4),
    "chat_healed_kl": ("<=", 0.20),
    "chat_healed_decode_speedup": (">=", 1.05),
    "chat_healed_refused_by_default": (">=", 1),
}


def measure(place, *, quick):
    import msgspec

    names = UNTRAINED if quick else VARIANTS
    built = build("chat", place, only=names if quick else ())
    figures = {}
    for name in names:
        figures |= {
            f"chat_{name}_mb": round(built.megabytes(name), 2),
            f"chat_{name}_wire_mb": round(built.figure(name, "wire_bytes") / 1e6, 2),
            f"chat_{name}_kl": round(built.figure(name, "kl_mean"), 4),
            f"chat_{name}_top1": round(built.figure(name, "top1"), 4),
            f"chat_{name}_perplexity_ratio": round(built.figure(name, "perplexity_ratio"), 4),
            f"chat_{name}_decode_speedup": round(built.figure(name, "decode_speedup"), 3),
        }
    if not quick:
        over = built.figure("small84", "decode_speedup@usual")
        figures["chat_small84_decode_speedup_over_q4_k_m"] = round(over, 3)
        healed = msgspec.convert(built.variants["healed"]["evaluation"], Evaluation)
        figures["chat_healed_refused_by_default"] = int(not judge(healed, None).passed)
    figures["chat_source_perplexity"] = round(
        built.figure("usual", "perplexity") / built.figure("usual", "perplexity_ratio"), 3
    )
    required = {name: limit for name, limit in REQUIRED.items() if name in figures}
    runs = [{"variants": built.variants, "took_s": built.took_s}]
    return Part(figures=figures, required=required, runs=runs)
