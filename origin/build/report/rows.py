"""What a report has: the variants of a build, what was measured of each, and how its gate took it."""

from __future__ import annotations

import msgspec

from origin.build.evaluate.figures import Evaluation
from origin.build.gates import Verdict


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One variant in a report.

    Attributes:
        steps: what made it, in order, a few words each.
    """

    variant: str
    steps: tuple[str, ...] = ()
    evaluation: Evaluation
    verdict: Verdict


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one build measured.

    Attributes:
        recipe_sha256: of the recipe's bytes.
        created_unix_s: when.
        notes: sentences for the head of the page, such as what the reference is.
    """

    model: str
    version: str
    recipe_sha256: str
    created_unix_s: int
    rows: tuple[ReportRow, ...]
    notes: tuple[str, ...] = ()
