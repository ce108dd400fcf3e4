"""Figures: what is measured of a candidate, each with its interval, and what each of them means."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from origin.build.step import ArtifactKind

Better = Literal["less", "more"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A measured number and the interval that it lies in with 95 % confidence; None is not a number.

    Where a figure is exact, such as a count of bytes, all three are the same.
    """

    value: float | None
    low: float | None
    high: float | None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one candidate.

    Attributes:
        candidate: the artifact's key.
        reference: the key of the artifact that it was compared with.
        texts_sha256: of what both were given.
        seed: of the resampling that the intervals come from.
        new_space: the candidate's vectors are not meant to be the reference's: nearness to them is told, not judged.
        figures: by name, as in FIGURES; a speed against a sibling is `decode_speedup@SIBLING`.
        sizes: how much was looked at, such as `tokens_count` and `chunks_count`.
        faults: why this cannot be served whatever the figures say, such as that it does not load; nothing is well.
        versions: of the libraries that computed.
    """

    candidate: str
    reference: str
    kind: ArtifactKind
    texts_sha256: str
    seed: int
    new_space: bool = False
    figures: dict[str, Figure]
    sizes: dict[str, int]
    faults: tuple[str, ...] = ()
    versions: dict[str, str]


class Meaning(NamedTuple):
    """What a figure says.

    Attributes:
        better: which way is good.
        unit: `share` is between 0 and 1, `times` is how many times the other's.
        text: for people.
        repeatable: another machine would measure the same, but for the last digits.
    """

    better: Better
    unit: str
    text: str
    repeatable: bool = True


FIGURES: dict[str, Meaning] = {
    "kl_mean": Meaning("less", "nats", "divergence of the next token's probabilities from the reference's"),
    "kl_p99": Meaning("less", "nats", "the same for the worst token in a hundred"),
    "top1": Meaning("more", "share", "tokens for which both think the same one likeliest"),
    "perplexity": Meaning("less", "", "how many tokens it wavers between, on average"),
    "perplexity_ratio": Meaning("less", "times", "perplexity against the reference's"),
    "bits_per_byte": Meaning("less", "bits", "what a byte of text costs: comparable between vocabularies"),
    "bits_per_byte_ratio": Meaning("less", "times", "bits per byte against the reference's"),
    "tokenizer_same": Meaning("more", "share", "texts that become the same tokens as with the reference"),
    "cosine_mean": Meaning("more", "", "cosine of its vectors with the reference's"),
    "cosine_min": Meaning("more", "", "the same for the worst text"),
    "nn10": Meaning("more", "share", "of a text's ten nearest neighbours, those that are kept"),
    "similarity": Meaning("more", "", "correlation with what people call similar"),
    "similarity_share": Meaning("more", "share", "of the reference's correlation"),
    "probe": Meaning("more", "share", "classified rightly by a linear probe"),
    "probe_share": Meaning("more", "share", "of what the reference classifies rightly"),
    "retrieval": Meaning("more", "", "mean reciprocal rank of the right text"),
    "retrieval_share": Meaning("more", "share", "of the reference's mean reciprocal rank"),
    "leaked_share": Meaning("less", "share", "of the texts judged on that training or calibration saw"),
    "bytes": Meaning("less", "bytes", "its files"),
    "wire_bytes": Meaning("less", "bytes", "what a node without anything fetches: its files in packs"),
    "bytes_ratio": Meaning("less", "times", "its files against the reference's"),
    "bits_per_weight": Meaning("less", "bits", "the file with its weights, for each of them"),
    "memory_bytes": Meaning(
        "less", "bytes", "the most that a process held that read with it", repeatable=False
    ),
    "decode_speedup": Meaning("more", "times", "tokens written for each second of a CPU", repeatable=False),
    "prefill_speedup": Meaning("more", "times", "tokens read for each second of a CPU", repeatable=False),
    "first_token_speedup": Meaning("more", "times", "a prompt read and a token written", repeatable=False),
    "encode_speedup": Meaning("more", "times", "texts made into vectors", repeatable=False),
    "load_speedup": Meaning("more", "times", "loaded from files in memory", repeatable=False),
    "decode_tokens_per_s": Meaning("more", "1/s", "tokens written by one thread here", repeatable=False),
    "first_token_s": Meaning("less", "s", "a prompt of 256 tokens read by one thread here", repeatable=False),
    "encode_texts_per_s": Meaning("more", "1/s", "texts made into vectors by one thread", repeatable=False),
    "load_s": Meaning("less", "s", "loaded here, from files in memory", repeatable=False),
}
"""By name."""

OF_CHAT = frozenset({
    "kl_mean", "kl_p99", "top1", "perplexity", "perplexity_ratio", "bits_per_byte", "bits_per_byte_ratio",
    "tokenizer_same", "decode_speedup", "prefill_speedup", "first_token_speedup",
})  # fmt: skip
"""Those that chat models alone have."""

OF_TASKS = {
    f"{task}{ending}": task for task in ("similarity", "probe", "retrieval") for ending in ("", "_share")
}
"""Those that a `[[task]]` of this kind measures."""

OF_ENCODERS = frozenset({"cosine_mean", "cosine_min", "nn10", "encode_speedup", *OF_TASKS})
"""Those that encoders alone have."""

COMPARABLE: dict[ArtifactKind, tuple[ArtifactKind, ...]] = {"gguf": ("gguf",), "onnx": ("bert", "onnx")}
"""Of each kind that is served, which kinds it is judged beside."""

SPEEDUPS = frozenset(name for name in FIGURES if name.endswith("_speedup"))
"""Those that are against a sibling; without one named, against the reference."""
