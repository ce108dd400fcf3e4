"""Gates: what a candidate must reach to be published, and whether it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from origin.build.evaluate.figures import Figure

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
        """Everything that speaks against it, a sentence each."""
        return (*self.faults, *(row.reason for row in self.rows if row.reason))


def default_gates(evaluation: Evaluation) -> dict[str, Limit]:
    """What is demanded where a recipe says nothing."""
    raise NotImplementedError


def judge(evaluation: Evaluation, gates: Mapping[str, Limit] | None) -> Verdict:
    """Hold an evaluation against the limits of its recipe; None takes `default_gates`."""
    raise NotImplementedError


def check_gates(gates: Mapping[str, Limit], siblings: frozenset[str]) -> None:
    """Refuse limits that nothing can be held against, before anything is built.

    Raises:
        RecipeInvalidError: an unknown figure, a limit without bound or with one that is no number, an unknown sibling.
    """
    raise NotImplementedError
