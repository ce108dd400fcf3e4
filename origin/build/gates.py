"""Gates: what a candidate must reach to be published, and whether it does."""

from __future__ import annotations

import math
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

import msgspec

from origin.build.evaluate.figures import FIGURES, SPEEDUPS, Figure
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.evaluate.figures import Evaluation


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A figure's limit in a recipe's `[gate]`: at least one of `min` and `max`.

    Attributes:
        min: the least; bytes may be written `"90 MB"` or `"90 MiB"`.
        max: the most.
        vs: the sibling that a speed is against; empty is the reference.
        against: `bound`: the far end of the interval must be within the limit too; `value`: the figure alone.
    """

    min: float | str | None = None
    max: float | str | None = None
    vs: str = ""
    against: Literal["bound", "value"] = "bound"


class GateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One limit, and how it went.

    Attributes:
        name: the figure, with `@SIBLING` where there is one.
        reason: why it did not pass; empty when it did.
    """

    name: str
    limit: Limit
    figure: Figure | None
    passed: bool
    reason: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a candidate may be published, and why not.

    Attributes:
        rows: each limit that was asked, the recipe's and those that always hold.
        faults: as in the evaluation.
    """

    passed: bool
    rows: tuple[GateRow, ...]
    faults: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that speaks against it, a sentence each; of what cannot be computed nothing else is missed."""
        rows = [row for row in self.rows if row.reason and not (self.faults and row.figure is None)]
        return (*self.faults, *(row.reason for row in rows))


_FEW_BITS_LIMITS = {
    "kl_mean": Limit(max=0.12),
    "kl_p99": Limit(max=1.0),
    "top1": Limit(min=0.78),
    "perplexity_ratio": Limit(max=1.15),
}
"""They let through 4-bit types made with an importance matrix, and no model from which two of thirty layers were taken,
healed or not (SmolLM2-135M: `tests/bench/build_chat.py`, `build_gates.py`)."""
_MANY_BITS = 8.0
_MANY_BITS_LIMITS = {
    "kl_mean": Limit(max=0.02),
    "kl_p99": Limit(max=0.15),
    "top1": Limit(min=0.92),
    "perplexity_ratio": Limit(max=1.03),
}
"""For 8 bits and more for each weight: who spends the bytes has nothing to lose."""
_VECTOR_LIMITS = {
    "cosine_mean": Limit(min=0.985),
    "cosine_min": Limit(min=0.95),
    "nn10": Limit(min=0.80),
}
"""They let through 8 bits by channel and trained 4 bits, and neither 8 bits by tensor nor statically quantized
activations (MiniLM-L6)."""
_SHARE_LIMIT = Limit(min=0.90)
_NEW_SPACE_SHARE_LIMIT = Limit(min=0.80)
_ALWAYS = {"tokenizer_same": Limit(min=1.0), "leaked_share": Limit(max=0.02)}
"""They hold beside what a recipe says, unless it says something about the same figure."""
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def default_gates(evaluation: Evaluation) -> dict[str, Limit]:
    """What is demanded where a recipe says nothing.

    Task scores move by less than their error while neighbours are lost, so vectors are held to the reference's; a
    student's space is its own, and it is judged by tasks alone.
    """
    if evaluation.kind == "gguf":
        bits = evaluation.figures.get("bits_per_weight")
        many = bits is not None and bits.value is not None and bits.value >= _MANY_BITS
        return dict(_MANY_BITS_LIMITS if many else _FEW_BITS_LIMITS)
    shares = [
        name for name in ("similarity_share", "probe_share", "retrieval_share") if name in evaluation.figures
    ]
    if evaluation.new_space:
        return dict.fromkeys(shares or ["retrieval_share"], _NEW_SPACE_SHARE_LIMIT)
    return _VECTOR_LIMITS | dict.fromkeys(shares, _SHARE_LIMIT)


def judge(evaluation: Evaluation, gates: Mapping[str, Limit] | None) -> Verdict:
    """Hold an evaluation against the limits of its recipe; None takes `default_gates`.

    Beside either, the tokenizer must be the source's and what it is judged on must not have been learned from, unless
    the recipe has a limit of its own for that.
    """
    limits = default_gates(evaluation) if gates is None else dict(gates)
    for name, limit in _ALWAYS.items():
        if name in evaluation.figures:
            limits.setdefault(name, limit)
    rows = tuple(_row(_name(figure, limit), limit, evaluation) for figure, limit in limits.items())
    passed = not evaluation.faults and all(row.passed for row in rows)
    return Verdict(passed=passed, rows=rows, faults=evaluation.faults)


def check_gates(gates: Mapping[str, Limit], siblings: frozenset[str]) -> None:
    """Refuse limits that nothing can be held against, before anything is built.

    Raises:
        RecipeInvalidError: an unknown figure, a limit without bound or with one that is no number, an unknown sibling.
    """
    for name, limit in gates.items():
        _check_name(name)
        _check_bounds(name, limit)
        _check_sibling(name, limit, siblings)


def _check_name(name: str) -> None:
    if name not in FIGURES:
        near = get_close_matches(name, FIGURES, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(FIGURES)}"
        raise RecipeInvalidError(f'[gate] limits "{name}", which is no figure: {hint}', param=name)
    if not FIGURES[name].repeatable and name not in SPEEDUPS:
        raise RecipeInvalidError(
            f"[gate] {name} depends on the machine: limit {_instead(name)}",
            param=name,
        )


def _check_bounds(name: str, limit: Limit) -> None:
    if limit.min is None and limit.max is None:
        raise RecipeInvalidError(f"[gate] {name} has no bound: give min or max", param=name)
    least, most = bound(limit.min, name), bound(limit.max, name)
    if least is not None and most is not None and least > most:
        raise RecipeInvalidError(f"[gate] {name} has a min above its max", param=name)


def _check_sibling(name: str, limit: Limit, siblings: frozenset[str]) -> None:
    if limit.vs and name not in SPEEDUPS:
        raise RecipeInvalidError(
            f"[gate] {name} is not a speed: vs is for {', '.join(sorted(SPEEDUPS))}", param=name
        )
    if limit.vs and limit.vs not in siblings:
        raise RecipeInvalidError(
            f'[gate] {name} is against "{limit.vs}", which is no variant of this recipe', param=name
        )


def bound(written: float | str | None, name: str) -> float | None:
    """A bound as a number; text is a number and a unit of bytes.

    Raises:
        RecipeInvalidError: it is neither.
    """
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMG]?i?B)\s*", written)
        if not match or match[2] not in _UNITS or FIGURES[name].unit != "bytes":
            raise RecipeInvalidError(
                f'[gate] {name} = "{written}" is no bound: write a number, or for bytes such as "90 MB"',
                param=name,
            )
        return float(match[1]) * _UNITS[match[2]]
    if written is not None and not math.isfinite(written):
        raise RecipeInvalidError(f"[gate] {name} = {written} is no bound", param=name)
    return written


def _instead(name: str) -> str:
    if name == "memory_bytes":
        return "bytes, which is the same everywhere"
    speedup = {"load_s": "load_speedup", "first_token_s": "first_token_speedup"}.get(
        name, "encode_speedup" if name.startswith("encode") else "decode_speedup"
    )
    return f"{speedup}, which is against a sibling"


def _name(figure: str, limit: Limit) -> str:
    return f"{figure}@{limit.vs}" if limit.vs else figure


def _row(name: str, limit: Limit, evaluation: Evaluation) -> GateRow:
    figure = evaluation.figures.get(name)
    reason = _reason(name, limit, figure)
    return GateRow(name=name, limit=limit, figure=figure, passed=not reason, reason=reason)


def _reason(name: str, limit: Limit, figure: Figure | None) -> str:
    """Why a figure is not within its limit; empty if it is."""
    if figure is None:
        return f"{name} was not measured"
    if figure.value is None:
        return f"{name} is not a number"
    low, high = figure.low, figure.high
    if limit.against == "value":
        low = high = figure.value
    base = name.partition("@")[0]
    least, most = bound(limit.min, base), bound(limit.max, base)
    # `not >=` rather than `<`: whatever is not a number is refused.
    if least is not None and (low is None or not low >= least):
        return f"{name} is {_said(figure.value, low, 'may be as low as')}; at least {limit.min} is demanded"
    if most is not None and (high is None or not high <= most):
        return f"{name} is {_said(figure.value, high, 'may be as high as')}; at most {limit.max} is allowed"
    return ""


def _said(value: float, edge: float | None, words: str) -> str:
    if edge is None or edge == value:
        return f"{value:.6g}"
    return f"{value:.4g} and {words} {edge:.4g}"
