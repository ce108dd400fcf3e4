"""Whole numbers in a range, digit by digit, and multiples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.constraints.expressions import (
    EMPTY,
    Expression,
    Rule,
    Text,
    choice,
    digits,
    repeat,
    sequence,
)

if TYPE_CHECKING:
    from edge_node.constraints.gbnf import Rules

# Beyond 15 digits many readers of JSON round.
FREE_DIGITS_COUNT = 15
LIMIT_DIGITS_COUNT = 40
LIMIT_MULTIPLES_COUNT = 500
LIMIT_DIVISOR = 64

DIGIT = digits(0, 9)


def integer_between(least: int | None, most: int | None) -> Expression | None:
    """A whole number from `least` to `most`, both included; None where there is none.

    A side without a bound goes as far as 15 digits, or as the other bound's digits.
    """
    least, most = closed(least, most)
    options: list[Expression | None] = []
    if least < 0:
        options.append(_with_sign(_natural_between(max(1, -most), -least)))
    if most >= 0:
        options.append(_natural_between(max(0, least), most))
    return choice(option for option in options if option is not None)


def closed(least: int | None, most: int | None) -> tuple[int, int]:
    """The range with an end on either side."""
    known = [len(str(abs(bound))) for bound in (least, most) if bound is not None]
    limit = 10 ** max(FREE_DIGITS_COUNT, *known, 1) - 1
    return -limit if least is None else least, limit if most is None else most


def multiple_of(divisor: int, least: int | None, most: int | None, rules: Rules) -> Expression | None:
    """A multiple of `divisor` in a range; None where there is none.

    Raises:
        ValueError: a range with an end that holds too many, or too large a divisor.
    """
    if divisor == 1:
        return integer_between(least, most)
    if least is not None and most is not None:
        first, last = -(-least // divisor) * divisor, most // divisor * divisor
        if (last - first) // divisor < LIMIT_MULTIPLES_COUNT:
            return choice(Text(str(value)) for value in range(first, last + 1, divisor))
    if least not in {None, 0} or most is not None or divisor > LIMIT_DIVISOR:
        raise ValueError(
            f"multiples can be enforced where the range holds at most {LIMIT_MULTIPLES_COUNT} of them, or from 0 or "
            f"without a range for divisors up to {LIMIT_DIVISOR}"
        )
    multiple = _multiple(divisor, rules)
    some = choice(
        (Text("0"), multiple) if least == 0 else (Text("0"), multiple, sequence(Text("-"), multiple))
    )
    assert some is not None, "0 is a multiple"
    return some


def _multiple(divisor: int, rules: Rules) -> Expression:
    """A positive multiple: an automaton whose states are the remainders of what has been read."""
    states = [rules.reserve(f"multiple-{divisor}-{remainder}") for remainder in range(divisor)]
    for remainder, state in enumerate(states):
        options = [_step(states, remainder, digit) for digit in range(10)]
        rules.define(state, _some(([EMPTY] if remainder == 0 else []) + options))
    return _some([_step(states, 0, digit) for digit in range(1, 10)])


def _step(states: list[Rule], remainder: int, digit: int) -> Expression:
    return sequence(Text(str(digit)), states[(remainder * 10 + digit) % len(states)])


def _some(options: list[Expression]) -> Expression:
    found = choice(options)
    assert found is not None, "the caller has options"
    return found


def _with_sign(magnitude: Expression | None) -> Expression | None:
    return None if magnitude is None else sequence(Text("-"), magnitude)


def _natural_between(least: int, most: int) -> Expression | None:
    """A number without a sign and without leading zeros."""
    options: list[Expression] = []
    full: list[int] = []  # lengths of which every number is in
    for length in range(len(str(least)), len(str(most)) + 1):
        smallest, largest = (0 if length == 1 else 10 ** (length - 1)), 10**length - 1
        low, high = max(least, smallest), min(most, largest)
        if low > high:
            continue
        if length > 1 and (low, high) == (smallest, largest):
            full.append(length)
        else:
            options.append(_same_length(str(low), str(high)))
    if full:
        options.append(sequence(digits(1, 9), repeat(DIGIT, full[0] - 1, full[-1] - 1)))
    return choice(options)


def _same_length(low: str, high: str) -> Expression:
    """Digits from `low` to `high`, which have the same length."""
    if not low:
        return EMPTY
    rest_count = len(low) - 1
    if low[0] == high[0]:
        return sequence(Text(low[0]), _same_length(low[1:], high[1:]))
    first, last = int(low[0]), int(high[0])
    options: list[Expression] = []
    if low[1:].strip("0"):
        options.append(sequence(Text(low[0]), _same_length(low[1:], "9" * rest_count)))
        first += 1
    if high[1:].strip("9"):
        options.append(sequence(Text(high[0]), _same_length("0" * rest_count, high[1:])))
        last -= 1
    if first <= last:
        options.append(sequence(digits(first, last), repeat(DIGIT, rest_count, rest_count)))
    return _some(options)
