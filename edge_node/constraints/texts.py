"""Strings of JSON: which characters they are written in, their length, and keys that are none of some names.

Lone surrogates are never written: many readers refuse them, and so one written character is one of the length.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge_node.constraints.expressions import (
    EMPTY,
    Choice,
    OneOf,
    Repeat,
    Sequence,
    Text,
    choice,
    normalized,
    one_of,
    repeat,
    sequence,
    shared,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_node.constraints.expressions import Expression, Ranges

QUOTE = Text('"')
ANY: Ranges = ((0, 0xD7FF), (0xE000, 0x10FFFF))
# What stands for itself between quotes; DEL is left out, as no one means it.
_PLAIN: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, 0x10FFFF))
_SHORT = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r", '"': '"', "\\": "\\"}


def _signs(signs: str) -> Expression:
    return OneOf(normalized((ord(sign), ord(sign)) for sign in signs))


_HEX = _signs("0123456789ABCDEFabcdef")
_ESCAPED = Choice(
    (
        _signs('"/\\bfnrt'),
        Sequence((Text("u"), _signs("0123456789ABCEFabcef"), Repeat(_HEX, 3, 3))),
        Sequence((Text("u"), _signs("Dd"), _signs("01234567"), Repeat(_HEX, 2, 2))),
    )
)
CHARACTER: Expression = Choice((OneOf(_PLAIN), Sequence((Text("\\"), _ESCAPED))))
"""One character of a string, in any of its forms."""


def literal(value: object) -> Expression:
    """A JSON value, spelled in one way."""
    return Text(json.dumps(value, ensure_ascii=False, allow_nan=False))


def written(ranges: Ranges) -> Expression | None:
    """One of these characters between quotes, as plain as JSON allows; None where there is none."""
    options: list[Expression] = []
    plain = one_of(*shared(ranges, _PLAIN))
    if plain is not None:
        options.append(plain)
    for first, last in shared(ranges, ((0, 0x22), (0x5C, 0x5C))):
        for code in range(first, last + 1):
            character = chr(code)
            if character in _SHORT:
                options.append(Text("\\" + _SHORT[character]))
            elif code < 0x20:
                options.append(Text(f"\\u{code:04x}"))
    return choice(options)


def keys_but(names: Iterable[str]) -> Expression:
    """A key in quotes, written without escapes, that is none of these names."""
    inner = _none_of(frozenset(name for name in names if '"' not in name and "\\" not in name))
    return sequence(QUOTE, inner, QUOTE)


def _none_of(tails: frozenset[str]) -> Expression:
    """Any text but these."""
    free = repeat(OneOf(_PLAIN), 0, None)
    if not tails:
        return free
    options: list[Expression] = [] if "" in tails else [EMPTY]
    by_first: dict[str, set[str]] = {}
    for tail in tails:
        if tail:
            by_first.setdefault(tail[0], set()).add(tail[1:])
    for first, rests in sorted(by_first.items()):
        options.append(sequence(Text(first), _none_of(frozenset(rests))))
    taken = tuple((ord(first), ord(first)) for first in sorted(by_first))
    other = one_of(*without(_PLAIN, taken))
    if other is not None:
        options.append(sequence(other, free))
    found = choice(options)
    assert found is not None, "a text may always go on otherwise"
    return found
