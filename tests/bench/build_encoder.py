"""The encoder in small forms: how near to the source, how good at tasks, for how many bytes, and how fast."""

from __future__ import annotations

from bench_part import Part
from build_runs import build

NEAR = ("fidelity", "wire16")
STUDENTS = ("three", "static")
TASKS = ("similarity", "probe", "retrieval")
REQUIRED = {
    "encoder_fidelity_mb": ("<=", 20.0),
    "encoder_fidelity_cosine": (">=", 0.997),
    "encoder_fidelity_nn10": (">=", 0.91),
    "encoder_wire16_wire_mb": ("<=", 16.0),
    "encoder_wire16_cosine": (">=", 0.991),
    "encoder_wire16_nn10": (">=", 0.85),
    "encoder_three_mb": ("<=", 13.5),
    "encoder_three_speedup": (">=", 3.9),
    **{f"encoder_three_{task}_share": (">=", 0.92) for task in TASKS},
    "encoder_static_wire_mb": ("<=", 2.7),
    "encoder_static_similarity_share": (">=", 0.97),
    "encoder_static_probe_share": (">=", 0.97),
    "encoder_static_retrieval_share": (">=", 0.87),
}


def measure(place, *, quick):
    names = NEAR if quick else (*NEAR, *STUDENTS)
    built = build("encoder", place, only=names if quick else ())
    figures = {}
    for name in names:
        found = built.variants[name]["evaluation"]["figures"]
        figures[f"encoder_{name}_mb"] = round(built.megabytes(name), 2)
        figures[f"encoder_{name}_wire_mb"] = round(built.figure(name, "wire_bytes") / 1e6, 2)
        figures[f"encoder_{name}_nn10"] = round(built.figure(name, "nn10"), 4)
        if "cosine_mean" in found:
            figures[f"encoder_{name}_cosine"] = round(built.figure(name, "cosine_mean"), 5)
        for task in TASKS:
            figures[f"encoder_{name}_{task}_share"] = round(built.figure(name, f"{task}_share"), 4)
        if "encode_speedup@fp32" in found:
            figures[f"encoder_{name}_speedup"] = round(built.figure(name, "encode_speedup@fp32"), 2)
    required = {name: limit for name, limit in REQUIRED.items() if name in figures}
    return Part(
        figures=figures, required=required, runs=[{"variants": built.variants, "took_s": built.took_s}]
    )
