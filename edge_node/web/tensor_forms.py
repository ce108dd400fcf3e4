"""Tensors between HTTP bodies and engines: JSON numbers, and raw bytes after the JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET

from edge_node.api.inference import (
    InferAnswer,
    InferInput,
    InferOutput,
    InferRequest,
    check_infer,
    wants_binary,
)
from edge_node.engines import Tensor
from edge_node.engines.tensor_bytes import BYTES, array_of, dtype_of, elements_count
from edge_node.errors import RequestInvalidError
from registry import wire
from registry.value_count import check_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import Inferred

# Each number of a list takes tens of bytes while it is read: larger tensors have the binary form.
JSON_LIMIT_COUNT = 1 << 20
_KEYS_LIMIT_COUNT = 1 << 14
_KINDS: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}


def read_infer(body: bytes, json_bytes: int) -> tuple[InferRequest, tuple[Tensor, ...]]:
    """A request and its tensors out of a body, of which the first `json_bytes` are JSON.

    Raises:
        InputInvalidError: not a request of the protocol; `param` is the path of the field.
    """
    head = body[:json_bytes]
    check_json(head, 2 * JSON_LIMIT_COUNT, keys_limit_count=_KEYS_LIMIT_COUNT)
    request = wire.from_json(head, InferRequest)
    check_infer(request)
    tensors = []
    at = json_bytes
    for index, tensor in enumerate(request.inputs):
        path = f"inputs[{index}]"
        what = f"the input {tensor.name[:80]!r}"
        try:
            if tensor.data is UNSET:
                data = _after_json(body, at, tensor, what)
                at += len(data)
            else:
                data = _from_json(bytes(tensor.data), tensor.datatype, tensor.shape, what)
        except RequestInvalidError as error:
            raise RequestInvalidError(error.message, param=error.param or path) from error
        tensors.append(
            Tensor(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape), data=data)
        )
    if at != len(body):
        raise RequestInvalidError(
            f"the body has {len(body) - at} bytes after the JSON that no input says are its own",
            param="inputs",
        )
    return request, tuple(tensors)


def write_infer(request: InferRequest, inferred: Inferred, *, name: str, version: str) -> tuple[bytes, bytes]:
    """The answer as JSON, and the bytes that follow it.

    Raises:
        RequestInvalidError: an output cannot be said in JSON.
    """
    outputs, after = [], []
    for tensor in inferred.outputs:
        if wants_binary(request, tensor.name):
            after.append(tensor.data)
            sizes = {"binary_data_size": len(tensor.data)}
            outputs.append(
                InferOutput(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, parameters=sizes)
            )
        else:
            outputs.append(
                InferOutput(
                    name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, data=_to_json(tensor)
                )
            )
    answer = InferAnswer(
        model_name=name,
        model_version=version,
        id=UNSET if request.id is None else request.id,
        outputs=tuple(outputs),
    )
    return wire.to_json(answer), b"".join(after)


def _after_json(body: bytes, at: int, tensor: InferInput, what: str) -> bytes:
    end = at + int(tensor.parameters["binary_data_size"] or 0)
    if end > len(body):
        raise RequestInvalidError(f"{what} says more bytes than the body has after the JSON")
    return body[at:end]


def _from_json(raw: bytes, datatype: str, shape: Sequence[int], what: str) -> bytes:
    count = elements_count(shape, what)
    if count > JSON_LIMIT_COUNT or raw.count(b",") + raw.count(b"[") > 2 * JSON_LIMIT_COUNT:
        raise RequestInvalidError(
            f"{what} has more than {JSON_LIMIT_COUNT} elements, the most in JSON; send it in the binary form"
        )
    flat = _flattened(msgspec.json.decode(raw), shape, what)
    if len(flat) != count:
        raise RequestInvalidError(f"{what} has {len(flat)} elements, its shape {list(shape)} needs {count}")
    kinds = set(map(type, flat))
    if datatype == BYTES:
        if kinds - {str}:
            raise RequestInvalidError(f"{what} is of BYTES: in JSON its elements are texts")
        joined = bytearray()  # one after the other: a million at once as objects would take far more memory
        for text in flat:
            element = text.encode()
            joined += len(element).to_bytes(4, "little")
            joined += element
        return bytes(joined)
    dtype = dtype_of(datatype, what)
    if kinds - set(_KINDS[dtype.kind]):
        raise RequestInvalidError(f"{what} is of {datatype} and holds something else")
    try:
        # A float beyond the type's range becomes infinite, as in any cast.
        with np.errstate(over="ignore"):
            return np.array(flat, dtype).tobytes()
    except OverflowError as error:
        raise RequestInvalidError(f"{what} holds a number beyond {datatype}") from error


def _flattened(data: Any, shape: Sequence[int], what: str) -> list[Any]:
    """Elements out of a flat list, or out of lists nested as the shape says."""
    if not isinstance(data, list):
        raise RequestInvalidError(f"{what}: `data` must be a list")
    level = 0
    while any(isinstance(part, list) for part in data):
        level += 1
        width = shape[level] if level < len(shape) else -1
        if not all(isinstance(part, list) and len(part) == width for part in data):
            raise RequestInvalidError(
                f"{what}: the lists in `data` are neither flat nor of the shape {list(shape)}"
            )
        data = [element for part in data for element in part]
    return list(data)


def _to_json(tensor: Tensor) -> list[Any]:
    what = f"the output {tensor.name!r}"
    array = array_of(tensor.data, tensor.datatype, tensor.shape, what)
    if array.size > JSON_LIMIT_COUNT:
        raise RequestInvalidError(
            f"{what} has more than {JSON_LIMIT_COUNT} elements, the most in JSON; ask for it with "
            "the parameter binary_data",
            param="outputs",
        )
    if tensor.datatype != BYTES:
        values: list[Any] = array.ravel().tolist()
        return values
    try:
        return [element.decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise RequestInvalidError(
            f"{what} holds bytes that are no text; ask for it with the parameter binary_data", param="outputs"
        ) from error
