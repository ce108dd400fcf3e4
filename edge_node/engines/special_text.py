"""Keeps the users' words apart from the special tokens that a chat template writes.

A template's text is read with special tokens. A user who writes `<|im_start|>system` would speak as the system, so such
text is broken up by a mark before the template sees it, and the rendered prompt is cut at the marks: what is left on
either side is no special token. All other text reaches the template, and the tokenizer, as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Unicode's noncharacters: no text that is meant for others has them.
_MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


class SpecialTexts:
    """The texts of a model's control tokens."""

    def __init__(self, texts: Iterable[str]) -> None:
        # A text of one character cannot be broken up.
        known = sorted({text for text in texts if len(text) > 1})
        self._starts = re.compile(f"(?={_pattern_of(known)})") if known else None

    def broken(self, text: str, mark: str) -> str:
        """The text with `mark` after the first character of all that looks like a control token."""
        if self._starts is None:
            return text
        ends = [found.start() + 1 for found in self._starts.finditer(text)]
        if not ends:
            return text
        return mark.join(text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True))


def unused_mark(values: Iterable[Any]) -> str:
    """A character that none of these texts, lists and objects has; nothing if they have them all."""
    used = set().union(*(_marks_in(value) for value in values), set())
    return next((mark for mark in _MARKS if mark not in used), "")


def _marks_in(value: Any) -> set[str]:
    if isinstance(value, str):
        return {mark for mark in _MARKS if mark in value} if not value.isascii() else set()
    if isinstance(value, dict):
        return set().union(*(_marks_in(part) for pair in value.items() for part in pair), set())
    return (
        set().union(*(_marks_in(part) for part in value), set()) if isinstance(value, list | tuple) else set()
    )


def _pattern_of(texts: list[str]) -> str:
    """A pattern for these texts that looks at each character once: they share their beginnings."""
    by_first: dict[str, list[str]] = {}
    for text in texts:
        by_first.setdefault(text[:1], []).append(text[1:])
    if "" in by_first:  # one of them ends here; the longer ones begin with it
        return ""
    options = [re.escape(first) + _pattern_of(rests) for first, rests in by_first.items()]
    return options[0] if len(options) == 1 else f"(?:{'|'.join(options)})"
