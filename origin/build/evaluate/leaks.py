"""Leaks: how much of the texts that a model is judged on it has seen before, in training or in calibration.

Runs of 13 words in common, as for GPT-3 (Brown et al., Language Models are Few-Shot Learners, 2020, appendix C).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RUN_WORDS = 13
_WORD = re.compile(r"\w+")


def leaked_share(judged: Sequence[str], learned: Sequence[str]) -> float:
    """The share of the runs of words of `judged` that `learned` has, too; shorter texts are one run."""
    runs = {run for text in judged for run in _runs(text)}
    if not runs:
        return 0.0
    seen: set[int] = set()
    for text in learned:
        seen.update(run for run in _runs(text) if run in runs)
    return len(seen) / len(runs)


def _runs(text: str) -> Iterator[int]:
    words = _WORD.findall(text.lower())
    for start in range(max(1, len(words) - RUN_WORDS + 1)):
        run = tuple(words[start : start + RUN_WORDS])
        if run:
            yield hash(run)
