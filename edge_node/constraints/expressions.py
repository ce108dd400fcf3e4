"""The terms that grammars are made of: texts, characters, sequences, choices, repetitions, names of rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""Code points, first and last of each run, in rising order and apart from each other."""


@dataclass(frozen=True, slots=True)
class Text:
    """Exactly these characters."""

    characters: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """One character of these."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Rule:
    """What the rule of this name says."""

    name: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; none of them is the empty text."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these; none of them is nothing at all."""

    options: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """From `least` to `most` times; `most` None has no end."""

    part: Expression
    least: int
    most: int | None


Expression = Text | OneOf | Rule | Sequence | Choice | Repeat

EMPTY = Sequence(())


def sequence(*parts: Expression) -> Expression:
    """One after the other."""
    flat: list[Expression] = []
    for part in parts:
        for inner in part.parts if isinstance(part, Sequence) else (part,):
            if isinstance(inner, Text) and flat and isinstance(flat[-1], Text):
                flat[-1] = Text(flat[-1].characters + inner.characters)
            elif not (isinstance(inner, Text) and not inner.characters):
                flat.append(inner)
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(options: Iterable[Expression]) -> Expression | None:
    """One of these, each told once; None where there is none."""
    flat: dict[Expression, None] = {}
    for option in options:
        for inner in option.options if isinstance(option, Choice) else (option,):
            flat[inner] = None
    if not flat:
        return None
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def repeat(part: Expression, least: int, most: int | None) -> Expression:
    """From `least` to `most` times."""
    if most == 0:
        return EMPTY
    return part if (least, most) == (1, 1) else Repeat(part, least, most)


def optional(part: Expression) -> Expression:
    """Once or not at all."""
    return repeat(part, 0, 1)


def one_of(*ranges: tuple[int, int]) -> Expression | None:
    """One character of these code points; None for no character."""
    normal = normalized(ranges)
    if not normal:
        return None
    if len(normal) == 1 and normal[0][0] == normal[0][1]:
        return Text(chr(normal[0][0]))
    return OneOf(normal)


def normalized(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same code points, in order and merged."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pair for pair in ranges if pair[0] <= pair[1]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def without(ranges: Ranges, taken: Ranges) -> Ranges:
    """The code points of `ranges` that are not in `taken`."""
    left: list[tuple[int, int]] = []
    for first, last in ranges:
        at = first
        for taken_first, taken_last in taken:
            if taken_last < at or taken_first > last:
                continue
            left.append((at, taken_first - 1))
            at = taken_last + 1
        left.append((at, last))
    return normalized(left)


def shared(ranges: Ranges, others: Ranges) -> Ranges:
    """The code points that are in both."""
    return without(ranges, without(ranges, others))


def digits(first: int, last: int) -> Expression:
    """One decimal digit from `first` to `last`."""
    found = one_of((ord("0") + first, ord("0") + last))
    assert found is not None, "a caller names at least one digit"
    return found
