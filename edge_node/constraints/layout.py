"""White space between the parts of JSON: none, one space, or a line break and at most 20 spaces."""

from __future__ import annotations

from edge_node.constraints.expressions import Choice, Expression, Repeat, Sequence, Text

SPACE: Expression = Choice((Sequence(()), Text(" "), Sequence((Text("\n"), Repeat(Text(" "), 0, 20)))))
"""Bounded, because small models write white space without end where they may."""
