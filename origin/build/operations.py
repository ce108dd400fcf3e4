"""The table of operations: every `op` that a recipe may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from origin.build.step import Step

OPERATIONS: dict[str, type[Step]] = {}
"""By the word that `op` is in a recipe."""
