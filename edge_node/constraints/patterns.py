r"""Regular expressions of JSON Schema (ECMA-262's), the part of them that a grammar can say.

Literals, classes, `.`, `\d \w \s` and their opposites, groups, `|`, and all repetitions, lazy ones too, as the texts
that they accept are the same. `^` and `$` at the ends of the whole expression's alternatives; without them anything may
go before and after. Not: lookaround, back references, word boundaries, Unicode properties.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Never

from edge_node.constraints.expressions import (
    Expression,
    Ranges,
    choice,
    normalized,
    repeat,
    sequence,
    without,
)
from edge_node.constraints.texts import ANY, CHARACTER, written

LIMIT_CHARACTERS_COUNT = 2_000
_LIMIT_DEPTH = 40

_DIGITS: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = ((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x2028, 0x2029))
_LINE_ENDS: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
_CLASSES = {
    "d": _DIGITS, "D": without(ANY, _DIGITS), "w": _WORD, "W": without(ANY, _WORD), "s": _SPACE,
    "S": without(ANY, _SPACE),
}  # fmt: skip
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "0": 0x00}
_BOUNDS = re.compile(r"\{([0-9]{1,6})(?:(,)([0-9]{1,6})?)?\}")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}")


class PatternUnsupportedError(ValueError):
    """Not a regular expression, or one that a grammar cannot say."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of an expression: its texts as they are written in JSON, and how many characters they have.

    Attributes:
        unit: the one character that is repeated, where it is nothing but that.
    """

    term: Expression
    least: int
    most: int | None
    unit: Expression | None = None

    def between(self, least: int, most: int | None) -> Expression | None:
        """The texts of these lengths; None when a grammar cannot pick them out."""
        shorter = self.most if most is None else most if self.most is None else min(self.most, most)
        longer = max(self.least, least)
        if (longer, shorter) == (self.least, self.most):
            return self.term
        if self.unit is None or (shorter is not None and longer > shorter):
            return None
        return repeat(self.unit, longer, shorter)


_ANYTHING = Piece(repeat(CHARACTER, 0, None), 0, None, CHARACTER)


@lru_cache(maxsize=256)
def texts_of(pattern: str) -> Piece:
    """What a string must be to match, without its quotes.

    Raises:
        PatternUnsupportedError: says where and why.
    """
    if len(pattern) > LIMIT_CHARACTERS_COUNT:
        raise PatternUnsupportedError(f"it has more than {LIMIT_CHARACTERS_COUNT} characters")
    return _Reader(pattern).whole()


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def whole(self) -> Piece:
        options: list[Piece] = []
        while True:
            begins = self._take("^")
            inner = self._row()
            ends = self._take("$")
            framed = [inner] if begins else [_ANYTHING, inner]
            options.append(_joined(framed if ends else [*framed, _ANYTHING]))
            if not self._take("|"):
                break
        if self._at < len(self._pattern):
            self._fail("is not understood here")
        return _either(options)

    def _options(self) -> Piece:
        self._depth += 1
        if self._depth > _LIMIT_DEPTH:
            self._fail("is nested too deeply")
        options = [self._row()]
        while self._take("|"):
            options.append(self._row())
        self._depth -= 1
        return _either(options)

    def _row(self) -> Piece:
        parts: list[Piece] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)$":
            parts.append(self._repeated(self._atom()))
        return _joined(parts)

    def _repeated(self, piece: Piece) -> Piece:
        bounds = self._bounds()
        if bounds is None:
            return piece
        self._take("?")  # lazy: the same texts
        if self._peek() in {"*", "+", "?"}:
            self._fail("repeats a repetition")
        least, most = bounds
        if most is not None and most < least:
            self._fail("has its bounds the wrong way round")
        if piece.least == 0 and (least, most) != (0, 1):
            self._fail("repeats what may be empty")
        longest = None if most is None or piece.most is None else piece.most * most
        single = piece.unit is not None and (piece.least, piece.most) == (1, 1)
        return Piece(
            repeat(piece.term, least, most), piece.least * least, longest, piece.unit if single else None
        )

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        found = _BOUNDS.match(self._pattern, self._at)
        if found is None:
            return None
        self._at = found.end()
        least, comma, most = found.groups()
        if not comma:
            return int(least), int(least)
        return int(least), int(most) if most else None

    def _atom(self) -> Piece:
        if self._take("("):
            if self._take("?") and not self._take(":"):
                self._name_of_group()
            inner = self._options()
            if not self._take(")"):
                self._fail("ends within a group")
            return Piece(inner.term, inner.least, inner.most)
        if self._take("["):
            return self._character(self._class())
        if self._take("."):
            return self._character(without(ANY, _LINE_ENDS))
        if self._take("\\"):
            found = self._escape()
            return self._character(found if isinstance(found, tuple) else ((found, found),))
        sign = self._peek()
        if sign in set("^*+?"):
            self._fail("is not understood here")
        self._at += 1
        return self._character(((ord(sign), ord(sign)),))

    def _name_of_group(self) -> None:
        name = re.compile(r"<[A-Za-z_]\w*>").match(self._pattern, self._at)
        if name is None:
            self._fail("looks around, which a grammar cannot")
        self._at = name.end()

    def _character(self, ranges: Ranges) -> Piece:
        term = written(ranges)
        if term is None:
            self._fail("is a class of no characters")
        return Piece(term, 1, 1, term)

    def _class(self) -> Ranges:
        negated = self._take("^")
        found: list[tuple[int, int]] = []
        while not self._take("]"):
            first = self._member()
            if isinstance(first, tuple):
                found.extend(first)
                continue
            last: int | Ranges = first
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._at += 1
                last = self._member()
            if isinstance(last, tuple):
                found += [(first, first), (0x2D, 0x2D), *last]
            elif last < first:
                self._fail("has a range the wrong way round")
            else:
                found.append((first, last))
        ranges = normalized(found)
        return without(ANY, ranges) if negated else ranges

    def _member(self) -> int | Ranges:
        if self._at >= len(self._pattern):
            self._fail("ends within a class")
        if self._take("\\"):
            return 0x08 if self._take("b") else self._escape()
        self._at += 1
        return ord(self._pattern[self._at - 1])

    def _escape(self) -> int | Ranges:
        sign = self._peek()
        if sign in _CLASSES:
            self._at += 1
            return _CLASSES[sign]
        if sign in _CONTROLS:
            self._at += 1
            return _CONTROLS[sign]
        code = _CODE.match(self._pattern, self._at)
        if code is not None:
            self._at = code.end()
            return int(next(group for group in code.groups() if group), 16)
        if not sign or sign.isalnum():
            self._fail("has an escape that a grammar cannot say")
        self._at += 1
        return ord(sign)

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self, sign: str) -> bool:
        taken = self._peek() == sign
        self._at += taken
        return taken

    def _fail(self, why: str) -> Never:
        raise PatternUnsupportedError(f"it {why}, at character {self._at + 1}")


def _joined(parts: list[Piece]) -> Piece:
    if len(parts) == 1:
        return parts[0]
    most = 0
    for part in parts:
        if part.most is None:
            return Piece(sequence(*(each.term for each in parts)), sum(each.least for each in parts), None)
        most += part.most
    return Piece(sequence(*(each.term for each in parts)), sum(each.least for each in parts), most)


def _either(options: list[Piece]) -> Piece:
    if len(options) == 1:
        return options[0]
    term = choice(option.term for option in options)
    assert term is not None, "there is an option"
    mosts = [option.most for option in options if option.most is not None]
    least = min(option.least for option in options)
    return Piece(term, least, max(mosts) if len(mosts) == len(options) else None)
