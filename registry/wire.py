"""Messages to bytes and back, strict: JSON and msgpack, with the path of a bad field in the error.

`msgpack` is the wire, msgspec checks the types of what came in. A message is a `msgspec.Struct`; one that
should refuse unknown fields says so with `forbid_unknown_fields=True` and gets a message that names the nearest.
"""

from __future__ import annotations

import difflib
import functools
import re
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")

_PATH = re.compile(r" - at `\$(?:\.)?(?P<path>[^`]*)`$")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`")


def to_msgpack(message: Any) -> bytes:
    """The msgpack bytes of a message.

    Raises:
        InputInvalidError: a text in it is not valid Unicode.
    """
    try:
        return msgspec.msgpack.encode(message)
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from error


def to_json(message: Any) -> bytes:
    """The JSON bytes of a message; bytes inside become base64.

    Raises:
        InputInvalidError: a text in it is not valid Unicode.
    """
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError as error:
        raise _not_unicode(error) from error


def from_msgpack(data: bytes, kind: type[T]) -> T:
    """The message that msgpack bytes hold.

    Raises:
        InputInvalidError: not msgpack, or not of this type; `param` is the path of the bad field.
    """
    try:
        # Straight into the type: as plain values first, 128 MiB of empty maps in a field that nobody asked for would
        # take 8 GiB. What the type does not name is passed over without being made.
        decoded: T = _msgpack_decoder(cast("Hashable", kind)).decode(data)
    except msgspec.ValidationError as error:
        raise _refusal(error, kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputInvalidError(f"the body is not valid msgpack: {error}") from error
    return decoded


def from_json(data: bytes, kind: type[T]) -> T:
    """The message that JSON bytes hold.

    Raises:
        InputInvalidError: not JSON, or not of this type; `param` is the path of the bad field.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _refusal(error, kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputInvalidError(f"the body is not valid JSON: {error}") from error


def convert(plain: Any, kind: type[T]) -> T:
    """Plain dicts, lists and scalars as a message.

    Raises:
        InputInvalidError: not of this type; `param` is the path of the bad field.
    """
    try:
        return msgspec.convert(plain, type=kind)
    except msgspec.ValidationError as error:
        raise _refusal(error, kind) from error


@functools.cache
def _msgpack_decoder(kind: Hashable) -> msgspec.msgpack.Decoder[Any]:
    """Made once for each type: for a union msgspec.msgpack.decode makes one anew for each message."""
    return msgspec.msgpack.Decoder(cast("type[Any]", kind))


def _not_unicode(error: UnicodeEncodeError) -> InputInvalidError:
    # Python makes such texts from bytes that are no UTF-8, of arguments and file names for example.
    return InputInvalidError(f"a text is not valid Unicode at character {error.start}: send UTF-8")


def _refusal(error: msgspec.ValidationError, kind: type[Any]) -> InputInvalidError:
    text = str(error)
    path_match = _PATH.search(text)
    path = path_match["path"] if path_match else ""
    text = _PATH.sub("", text)
    unknown = _UNKNOWN_FIELD.search(text)
    if unknown is None:
        return InputInvalidError(f"{path}: {text}" if path else text, param=path or None)
    field = unknown["field"]
    message = f"unknown field `{field}`"
    if not path:  # only the outermost type's names are known here
        near = difflib.get_close_matches(field, [f.name for f in msgspec.structs.fields(kind)], n=1)
        message += f"; did you mean `{near[0]}`?" if near else ""
    return InputInvalidError(message, param=f"{path}.{field}" if path else field)
