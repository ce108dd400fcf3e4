"""Numbers with a fraction in a range, digit by digit.

They are written without exponent, with at most 15 digits: decimals so short keep their order and stay apart when
they become binary64 (IEEE 754), so what the digits promise holds for who reads them.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from edge_node.constraints.expressions import (
    EMPTY,
    Choice,
    Expression,
    Text,
    choice,
    digits,
    optional,
    repeat,
    sequence,
)
from edge_node.constraints.integers import DIGIT, FREE_DIGITS_COUNT, LIMIT_DIGITS_COUNT, integer_between

_FREE_WHOLE_DIGITS_COUNT = 9
_FREE_FRACTION_DIGITS_COUNT = 6

_SIGN = optional(Choice((Text("+"), Text("-"))))
ANY_NUMBER: Expression = sequence(
    optional(Text("-")),
    Choice((Text("0"), sequence(digits(1, 9), repeat(DIGIT, 0, 14)))),
    optional(sequence(Text("."), repeat(DIGIT, 1, 15))),
    optional(sequence(Choice((Text("e"), Text("E"))), _SIGN, repeat(DIGIT, 1, 2))),
)
"""Any number that becomes a finite binary64."""


class Bound(NamedTuple):
    """An end of a range; `open` when the bound itself is outside."""

    value: int | float
    open: bool


def number_between(
    least: Bound | None, most: Bound | None, *, fraction_digits_count: int | None = None
) -> Expression | None:
    """A number in a range; None where there is none.

    `fraction_digits_count` is the most digits after the point, where the schema says.

    Raises:
        ValueError: a bound that is no number, or has too many digits.
    """
    if least is None and most is None and fraction_digits_count is None:
        return ANY_NUMBER
    whole_count, needed_count = _digits_of(least, most)
    fraction_count = max(_FREE_FRACTION_DIGITS_COUNT, needed_count)
    if fraction_digits_count is not None:
        fraction_count = fraction_digits_count
    fraction_count = max(0, min(fraction_count, FREE_DIGITS_COUNT - whole_count))
    limit = 10 ** (whole_count + fraction_count) - 1
    low = -limit if least is None else _inward(least, fraction_count, up=True)
    high = limit if most is None else _inward(most, fraction_count, up=False)
    options: list[Expression | None] = []
    if low < 0:
        magnitude = _magnitude_between(max(1, -high), -low, fraction_count)
        options.append(None if magnitude is None else sequence(Text("-"), magnitude))
    if high >= 0:
        options.append(_magnitude_between(max(0, low), high, fraction_count))
    return choice(option for option in options if option is not None)


def _digits_of(least: Bound | None, most: Bound | None) -> tuple[int, int]:
    """Digits before the point that numbers in the range have, and after it in the bounds."""
    whole_count, fraction_count = (_FREE_WHOLE_DIGITS_COUNT if None in {least, most} else 1), 0
    for bound in (least, most):
        if bound is None:
            continue
        value = _exact(bound.value)
        exponent = value.normalize().as_tuple().exponent
        if not isinstance(exponent, int):
            raise ValueError("the bound is not a number")  # noqa: TRY004 - JSON's numbers can be none
        whole_count = max(whole_count, len(str(abs(int(value)))))
        fraction_count = max(fraction_count, -exponent)
    if whole_count > LIMIT_DIGITS_COUNT:
        raise ValueError(f"the bound has more than {LIMIT_DIGITS_COUNT} digits")
    return whole_count, fraction_count


def _exact(value: float) -> Decimal:
    exact = Decimal(repr(value))
    if not exact.is_finite() or abs(exact) >= Decimal(10) ** LIMIT_DIGITS_COUNT:
        raise ValueError(f"the bound is not a number of at most {LIMIT_DIGITS_COUNT} digits")
    return exact


def _inward(bound: Bound, fraction_count: int, *, up: bool) -> int:
    """The first number inside the bound, in units of its last digit."""
    scaled = (
        _exact(bound.value).scaleb(fraction_count).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR)
    )
    units = int(scaled)
    # Of more than 15 digits, several become the same binary64: steps over all of them.
    step = 10 ** max(0, len(str(abs(units))) - FREE_DIGITS_COUNT) * (1 if up else -1)

    def outside() -> bool:
        read = float(Decimal(units).scaleb(-fraction_count))
        beyond = read < bound.value if up else read > bound.value
        return beyond or (bound.open and read == bound.value)

    while outside():
        units += step
    return units


def _magnitude_between(low: int, high: int, fraction_count: int) -> Expression | None:
    """A number without sign, both ends in units of its last digit."""
    if low > high:
        return None
    unit = 10**fraction_count
    (low_whole, low_rest), (high_whole, high_rest) = divmod(low, unit), divmod(high, unit)
    low_digits = str(low_rest).zfill(fraction_count).rstrip("0") if low_rest else ""
    high_digits = str(high_rest).zfill(fraction_count) if fraction_count else ""
    if low_whole == high_whole:
        return sequence(Text(str(low_whole)), _fraction(low_digits, high_digits, fraction_count))
    options: list[Expression] = []
    first, last = low_whole, high_whole
    if low_digits:
        options.append(sequence(Text(str(low_whole)), Text("."), _at_least(low_digits, fraction_count)))
        first += 1
    if high_digits.strip("9"):
        options.append(sequence(Text(str(high_whole)), _fraction("", high_digits, fraction_count)))
        last -= 1
    between = integer_between(first, last) if first <= last else None
    if between is not None:
        options.append(sequence(between, _any_fraction(fraction_count)))
    return choice(options)


def _any_fraction(count: int) -> Expression:
    return optional(sequence(Text("."), repeat(DIGIT, 1, count))) if count else EMPTY


def _fraction(low: str, high: str, room: int) -> Expression:
    """Point and digits from `low` (no zeros at its end) to `high` (`room` digits), or nothing where `low` allows it."""
    if not room:
        return EMPTY
    if low:
        return sequence(Text("."), _between(low, high, room))
    return optional(sequence(Text("."), _some(_at_most_options(high, room))))


def _at_least(low: str, room: int) -> Expression:
    """Digits that are `low` or more."""
    if not low:
        return repeat(DIGIT, 0, room)
    options = [sequence(Text(low[0]), _at_least(low[1:], room - 1))]
    if low[0] != "9":
        options.append(sequence(digits(int(low[0]) + 1, 9), repeat(DIGIT, 0, room - 1)))
    return _some(options)


def _at_most_options(high: str, room: int) -> list[Expression]:
    """One digit or more that are `high` or less."""
    high = high.rstrip("0")
    if not room:
        return []
    if not high:
        return [repeat(Text("0"), 1, room)]
    rest = _at_most_options(high[1:], room - 1)
    options = [sequence(Text(high[0]), optional(_some(rest)) if rest else EMPTY)]
    if high[0] != "0":
        options.append(sequence(digits(0, int(high[0]) - 1), repeat(DIGIT, 0, room - 1)))
    return options


def _between(low: str, high: str, room: int) -> Expression:
    """Digits from `low`, which has some, to `high`."""
    if low[0] == high[0]:
        if low[1:]:
            return sequence(Text(low[0]), _between(low[1:], high[1:], room - 1))
        rest = _at_most_options(high[1:], room - 1)
        return sequence(Text(low[0]), optional(_some(rest)) if rest else EMPTY)
    rest = _at_most_options(high[1:], room - 1)
    options = [
        sequence(Text(low[0]), _at_least(low[1:], room - 1)),
        sequence(Text(high[0]), optional(_some(rest)) if rest else EMPTY),
    ]
    if int(high[0]) - int(low[0]) > 1:
        options.append(sequence(digits(int(low[0]) + 1, int(high[0]) - 1), repeat(DIGIT, 0, room - 1)))
    return _some(options)


def _some(options: list[Expression]) -> Expression:
    found = choice(options)
    assert found is not None, "the caller has options"
    return found
