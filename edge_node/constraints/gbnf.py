"""Rules of a grammar, kept to a size that can be worked with, and printed in llama.cpp's GBNF.

The notation: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md. llama.cpp writes a bounded
repetition out, one rule for each time, and refuses 2,000 of them; so long ones are told in blocks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.constraints.expressions import (
    EMPTY,
    Choice,
    Expression,
    OneOf,
    Repeat,
    Rule,
    Sequence,
    Text,
    choice,
    repeat,
    sequence,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT_RULES_COUNT = 4_000
LIMIT_TERMS_COUNT = 40_000
# Bounds of repetitions beyond this are refused: the rules would take longer to read than the answer to write.
LIMIT_REPEAT_COUNT = 100_000
_BLOCK_COUNT = 100


class GrammarTooLargeError(ValueError):
    """The rules would be more than this node works with."""


class Rules:
    """The rules of one grammar, each under its name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Expression] = {}
        self._name_by_term: dict[Expression, str] = {}
        self._terms_count = 0

    def reserve(self, hint: str) -> Rule:
        """A name for a rule that is told later (`define`), so that it can speak of itself."""
        name = hint if hint not in self._by_name else f"{hint}-{len(self._by_name)}"
        if len(self._by_name) >= LIMIT_RULES_COUNT:
            raise GrammarTooLargeError(f"it takes more than {LIMIT_RULES_COUNT} rules")
        self._by_name[name] = EMPTY
        return Rule(name)

    def define(self, rule: Rule, term: Expression) -> Rule:
        """Tell what a reserved rule says."""
        term = self._in_blocks(term)
        self._terms_count += _terms_count(term)
        if self._terms_count > LIMIT_TERMS_COUNT:
            raise GrammarTooLargeError(f"its rules have more than {LIMIT_TERMS_COUNT} terms")
        self._by_name[rule.name] = term
        return rule

    def named(self, hint: str, term: Expression) -> Rule:
        """A rule that says this; equal terms share one."""
        known = self._name_by_term.get(term)
        if known is None:
            known = self._name_by_term[term] = self.define(self.reserve(hint), term).name
        return Rule(known)

    def unending(self) -> frozenset[str]:
        """The rules that no text can ever satisfy, because they need themselves."""
        ending: set[str] = set()
        while True:
            more = {
                name for name, term in self._by_name.items() if name not in ending and _ends(term, ending)
            }
            if not more:
                return frozenset(self._by_name.keys() - ending)
            ending |= more

    def printed(self) -> str:
        """The grammar as text; its root is the rule `root`."""
        return "".join(f"{name} ::= {_printed(term, _LOOSE)}\n" for name, term in self._by_name.items())

    def by_name(self) -> Mapping[str, Expression]:
        """The rules."""
        return self._by_name

    def _in_blocks(self, term: Expression) -> Expression:
        """The same with every long repetition told by blocks of it."""
        if isinstance(term, Sequence):
            return Sequence(tuple(self._in_blocks(part) for part in term.parts))
        if isinstance(term, Choice):
            return Choice(tuple(self._in_blocks(option) for option in term.options))
        if not isinstance(term, Repeat):
            return term
        part = self._in_blocks(term.part)
        if max(term.least, term.most or 0) <= _BLOCK_COUNT:
            return Repeat(part, term.least, term.most)
        if max(term.least, term.most or 0) > LIMIT_REPEAT_COUNT:
            raise GrammarTooLargeError(f"it counts to more than {LIMIT_REPEAT_COUNT}")
        if not isinstance(part, OneOf | Rule):
            part = self.named("item", part)
        exactly = self._exactly(part, term.least)
        if term.most is None:
            return sequence(exactly, Repeat(part, 0, None))
        return sequence(exactly, self._up_to(part, term.most - term.least))

    def _exactly(self, part: Expression, count: int) -> Expression:
        blocks, rest = divmod(count, _BLOCK_COUNT)
        if not blocks:
            return repeat(part, rest, rest)
        block = self.named("block", Repeat(part, _BLOCK_COUNT, _BLOCK_COUNT))
        return sequence(self._exactly(block, blocks), repeat(part, rest, rest))

    def _up_to(self, part: Expression, count: int) -> Expression:
        blocks, rest = divmod(count, _BLOCK_COUNT)
        if not blocks:
            return repeat(part, 0, rest)
        block = self.named("block", Repeat(part, _BLOCK_COUNT, _BLOCK_COUNT))
        fewer = sequence(self._up_to(block, blocks - 1), repeat(part, 0, _BLOCK_COUNT - 1))
        full = sequence(self._exactly(block, blocks), repeat(part, 0, rest))
        found = choice((fewer, full))
        assert found is not None, "two options are some"
        return self.named("up-to", found)


def _terms_count(term: Expression) -> int:
    """How many terms llama.cpp makes of one, roughly."""
    if isinstance(term, Sequence):
        return 1 + sum(_terms_count(part) for part in term.parts)
    if isinstance(term, Choice):
        return 1 + sum(_terms_count(option) for option in term.options)
    if isinstance(term, Repeat):
        return (1 + _terms_count(term.part)) * max(1, term.least, term.most or 0)
    return len(term.characters) if isinstance(term, Text) else 1


def _ends(term: Expression, ending: set[str]) -> bool:
    if isinstance(term, Rule):
        return term.name in ending
    if isinstance(term, Sequence):
        return all(_ends(part, ending) for part in term.parts)
    if isinstance(term, Choice):
        return any(_ends(option, ending) for option in term.options)
    if isinstance(term, Repeat):
        return term.least == 0 or _ends(term.part, ending)
    return True


_LOOSE, _IN_SEQUENCE, _TIGHT = range(3)


def _printed(term: Expression, binding: int) -> str:
    if isinstance(term, Text):
        return '"' + "".join(_escaped(ord(character), '"\\') for character in term.characters) + '"'
    if isinstance(term, OneOf):
        return "[" + "".join(_printed_run(*run) for run in term.ranges) + "]"
    if isinstance(term, Rule):
        return term.name
    if isinstance(term, Repeat):
        inner = _printed(term.part, _TIGHT)
        return (f"({inner})" if isinstance(term.part, Repeat) else inner) + _printed_bounds(
            term.least, term.most
        )
    if isinstance(term, Sequence):
        inner = " ".join(_printed(part, _IN_SEQUENCE) for part in term.parts) or '""'
        return f"({inner})" if binding == _TIGHT else inner
    inner = " | ".join(_printed(option, _IN_SEQUENCE) for option in term.options)
    return inner if binding == _LOOSE else f"({inner})"


def _printed_bounds(least: int, most: int | None) -> str:
    if (least, most) == (0, 1):
        return "?"
    if most is None:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return f"{{{least}}}" if least == most else f"{{{least},{most}}}"


def _printed_run(first: int, last: int) -> str:
    start = _escaped(first, "]\\^-[")
    return start if first == last else f"{start}-{_escaped(last, ']^-[' + chr(92))}"


def _escaped(code: int, special: str) -> str:
    character = chr(code)
    if character in special and character in '"\\[]':
        return "\\" + character
    if character in special or code < 0x20 or code == 0x7F:
        return f"\\x{code:02X}"
    if code < 0x7F:
        return character
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
