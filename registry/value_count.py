"""How many values a JSON or msgpack message holds, counted before any of them is made.

A value takes up to about 130 bytes once it is made (an empty map, a message without fields) and as little as one byte
in a message: 32 MiB of empty maps would take 2.3 GiB. Texts take at most four times their bytes, and are not counted.
"""

from __future__ import annotations

import re

from registry.errors import InputInvalidError

VALUES_LIMIT_COUNT = 1 << 18
"""The most values, keys of maps included, of a message unless its reader says otherwise; at most 36 MiB once made."""

# A text that does not end goes to the end of the message: trying again behind each of its quotes would take for ever.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_MARKS = (b",", b"[", b"{", b":")
_KEY = b":"


def check_json(body: bytes, limit_count: int, *, keys_limit_count: int | None = None) -> None:
    """Refuse JSON of too many values; what is no JSON may pass.

    Args:
        body: the message.
        limit_count: the most values, keys included.
        keys_limit_count: the most keys, where they have a limit of their own.

    Raises:
        InputInvalidError: there are more.
    """
    keys_limit_count = limit_count if keys_limit_count is None else keys_limit_count
    if sum(map(body.count, _MARKS)) < limit_count and body.count(_KEY) <= keys_limit_count:
        return  # even with the marks inside of texts
    values_count, keys_count, at = 1, 0, 0
    for texts_count, text in enumerate(_TEXT.finditer(body)):
        values_count += sum(body.count(mark, at, text.start()) for mark in _MARKS)
        keys_count += body.count(_KEY, at, text.start())
        if max(values_count, texts_count) > limit_count or keys_count > keys_limit_count:
            break
        at = text.end()
    else:
        values_count += sum(body.count(mark, at) for mark in _MARKS)
        keys_count += body.count(_KEY, at)
        if values_count <= limit_count and keys_count <= keys_limit_count:
            return
    raise _too_many(limit_count if keys_count <= keys_limit_count else keys_limit_count)


def check_msgpack(body: bytes, limit_count: int) -> None:
    """Refuse msgpack of too many values; what is no msgpack may pass.

    Raises:
        InputInvalidError: there are more than `limit_count`, keys included.
    """
    end = len(body)
    if end <= limit_count:
        return
    at = values_count = 0
    while at < end:
        values_count += 1
        if values_count > limit_count:
            raise _too_many(limit_count)
        size = _SIZES[body[at]]
        if size > 0:
            at += size
        else:
            after = at + 1 - size
            at = after + int.from_bytes(body[at + 1 : after], "big") + (body[at] in _EXTENSIONS)


def _too_many(limit_count: int) -> InputInvalidError:
    return InputInvalidError(
        f"the body holds more than {limit_count} values (or keys) in its lists and maps, which is the limit: split it"
    )


def _sizes() -> tuple[int, ...]:
    """The bytes of a msgpack value by its first byte, of a list or map only its head; below 0, of its length."""
    sizes = [1] * 256
    for length in range(32):
        sizes[0xA0 + length] = 1 + length
    for first, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xC7, 1), (0xC8, 2), (0xC9, 4)):
        sizes[first] = -width
    for first, width in ((0xD9, 1), (0xDA, 2), (0xDB, 4)):
        sizes[first] = -width
    fixed = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
    fixed |= {0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18, 0xDC: 3, 0xDD: 5, 0xDE: 3, 0xDF: 5}
    for first, size in fixed.items():
        sizes[first] = size
    return tuple(sizes)


_SIZES = _sizes()
_EXTENSIONS = frozenset({0xC7, 0xC8, 0xC9})  # their kind is a byte between length and content
