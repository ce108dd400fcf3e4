"""Tensors as bytes: the datatypes of the Open Inference Protocol, their numpy forms, and the length of each.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol (tensor data types) and Triton's
binary tensor data extension, in which each element of BYTES follows its length as a little-endian uint32.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
BYTES = "BYTES"
RANK_LIMIT_COUNT = 32
_ELEMENTS_LIMIT_COUNT = 1 << 40
_LENGTH = struct.Struct("<I")


def elements_count(shape: Sequence[int], what: str) -> int:
    """How many elements a shape has.

    Raises:
        RequestInvalidError: a negative size, too many dimensions, or more elements than memory could hold.
    """
    if len(shape) > RANK_LIMIT_COUNT:
        raise RequestInvalidError(f"{what} has {len(shape)} dimensions, at most {RANK_LIMIT_COUNT} are read")
    if any(size < 0 for size in shape):
        raise RequestInvalidError(f"{what} has a negative size in its shape {list(shape)}")
    count = math.prod(shape)
    # numpy multiplies in 64 bits, and a zero may stand beside sizes that overflow them.
    if math.prod(max(1, size) for size in shape) > _ELEMENTS_LIMIT_COUNT:
        raise RequestInvalidError(f"{what} has the shape {list(shape)}, which is larger than any memory")
    return count


def array_of(data: bytes, datatype: str, shape: Sequence[int], what: str) -> NDArray[Any]:
    """The array that bytes hold; for BYTES one of Python's `bytes`. It may be read-only.

    Raises:
        RequestInvalidError: an unknown datatype, or bytes that do not fill the shape exactly.
    """
    count = elements_count(shape, what)
    if datatype == BYTES:
        elements = np.empty(count, object)
        found = list(_framed(data, count, what))
        elements[:] = found
        return elements.reshape(tuple(shape))
    dtype = dtype_of(datatype, what)
    if len(data) != count * dtype.itemsize:
        raise RequestInvalidError(
            f"{what} has {len(data)} bytes, its shape {list(shape)} of {datatype} needs {count * dtype.itemsize}"
        )
    if datatype == "BOOL":
        # Any other byte is no value of a bool, and what a runtime makes of it is not defined.
        raw = np.frombuffer(data, np.uint8)
        if raw.size and raw.max() > 1:
            raise RequestInvalidError(f"{what} is of BOOL and holds a byte that is neither 0 nor 1")
    return np.frombuffer(data, dtype).reshape(tuple(shape))


def dtype_of(datatype: str, what: str) -> np.dtype[Any]:
    """The numpy form of a datatype other than BYTES.

    Raises:
        RequestInvalidError: there is none of this name.
    """
    if datatype not in DTYPES:
        known = ", ".join((*DTYPES, BYTES))
        raise RequestInvalidError(
            f"{what} has the datatype {datatype[:40]!r}; the datatypes here are {known}"
        )
    return DTYPES[datatype]


def bytes_of(array: NDArray[Any], datatype: str) -> bytes:
    """An array's elements as bytes; for BYTES an array of `bytes`."""
    if datatype == BYTES:
        return b"".join(piece for element in array.ravel() for piece in (_LENGTH.pack(len(element)), element))
    return array.astype(DTYPES[datatype], copy=False).tobytes()


def _framed(data: bytes, count: int, what: str) -> Iterator[bytes]:
    at = 0
    if count * _LENGTH.size > len(data):
        raise RequestInvalidError(f"{what} of BYTES has {len(data)} bytes, too few for {count} elements")
    for _ in range(count):
        end = at + _LENGTH.size
        length_bytes = _LENGTH.unpack_from(data, at)[0] if end <= len(data) else 0
        if end + length_bytes > len(data):
            raise RequestInvalidError(f"{what} of BYTES ends in the middle of an element")
        yield data[end : end + length_bytes]
        at = end + length_bytes
    if at != len(data):
        raise RequestInvalidError(f"{what} of BYTES has {len(data) - at} bytes after its last element")
