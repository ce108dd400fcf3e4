"""Requests for tensors: checked against the model, joined along their first dimension, and taken apart again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_node.engines import Tensor
from edge_node.engines.onnx.runtime import text_array
from edge_node.engines.tensor_bytes import BYTES, array_of, bytes_of
from edge_node.errors import EngineFailedError, RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_node.engines import Infer, TensorSpec
    from edge_node.engines.onnx.runtime import Session

ROWS_LIMIT_COUNT = 64
# Of one batch's inputs: larger ones fill the machine by themselves.
BATCH_LIMIT_BYTES = 4 << 20
# Below what a frame between child and front may have.
ANSWER_LIMIT_BYTES = 48 << 20


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """Checked inputs, ready to run.

    Attributes:
        rows_count: the size of the first dimension, which all inputs share; 0 where they do not.
        form: requests of one form can be joined: the outputs wanted, and all other dimensions of the inputs.
    """

    feeds: Mapping[str, NDArray[Any]]
    outputs: tuple[str, ...]
    rows_count: int
    input_bytes: int
    form: tuple[Any, ...] = field(default=())


def check_tensors(session: Session, command: Infer) -> TensorRequest:
    """The inputs of a request as arrays.

    Raises:
        RequestInvalidError: an input is missing, unknown, twice there, or not of the model's type or shape; an output
            is unknown; `param` names it.
    """
    specs = {spec.name: spec for spec in session.inputs}
    feeds: dict[str, NDArray[Any]] = {}
    for index, tensor in enumerate(command.inputs):
        param = f"inputs[{index}]"
        if tensor.name not in specs:
            raise RequestInvalidError(
                f"the model has no input {tensor.name[:80]!r}; it takes {', '.join(specs)}", param=param
            )
        if tensor.name in feeds:
            raise RequestInvalidError(f"the input {tensor.name!r} is there twice", param=param)
        feeds[tensor.name] = _checked(tensor, specs[tensor.name], param)
    missing = [name for name in specs if name not in feeds]
    if missing:
        raise RequestInvalidError(f"the input {missing[0]!r} is missing", param="inputs")
    known = [spec.name for spec in session.outputs]
    for index, name in enumerate(command.outputs):
        if name not in known:
            raise RequestInvalidError(
                f"the model has no output {name[:80]!r}; it gives {', '.join(known)}",
                param=f"outputs[{index}]",
            )
    outputs = tuple(dict.fromkeys(command.outputs)) or tuple(known)
    heights = {array.shape[0] if array.ndim else 0 for array in feeds.values()}
    rest = tuple((name, array.shape[1:]) for name, array in sorted(feeds.items()))
    return TensorRequest(
        feeds=feeds,
        outputs=outputs,
        rows_count=heights.pop() if len(heights) == 1 else 0,
        input_bytes=sum(tensor.nbytes for tensor in feeds.values()),
        form=(outputs, rest),
    )


def may_join(session: Session) -> bool:
    """Whether the first dimension of every input and output may be of any size, as a batch's must."""
    specs = (*session.inputs, *session.outputs)
    return bool(session.inputs) and all(spec.shape and spec.shape[0] == -1 for spec in specs)


def joined(requests: Sequence[TensorRequest]) -> dict[str, NDArray[Any]]:
    """The inputs of several requests of one form, one after the other."""
    names = requests[0].feeds
    return {name: np.concatenate([request.feeds[name] for request in requests]) for name in names}


def taken_apart(
    values: Sequence[NDArray[Any]], requests: Sequence[TensorRequest]
) -> list[list[NDArray[Any]]] | None:
    """Each request's part of joined outputs; None where an output has not a row for each row that went in."""
    total_count = sum(request.rows_count for request in requests)
    if any(value.ndim == 0 or value.shape[0] != total_count for value in values):
        return None
    parts, start = [], 0
    for request in requests:
        parts.append([value[start : start + request.rows_count] for value in values])
        start += request.rows_count
    return parts


def answer_tensors(
    session: Session, names: Sequence[str], values: Sequence[NDArray[Any]]
) -> tuple[Tensor, ...]:
    """Outputs as they travel.

    Raises:
        RequestInvalidError: they are larger than an answer may be.
        EngineFailedError: an output is no tensor that the protocol knows.
    """
    specs = {spec.name: spec for spec in session.outputs}
    answer = []
    left_bytes = ANSWER_LIMIT_BYTES
    for name, value in zip(names, values, strict=True):
        if not specs[name].datatype or not isinstance(value, np.ndarray):
            raise EngineFailedError(f"the output {name!r} is of a type that the protocol has no name for")
        texts = specs[name].datatype == BYTES
        left_bytes -= value.nbytes
        if left_bytes >= 0:
            data = bytes_of(_bytes_elements(value) if texts else value, specs[name].datatype)
            left_bytes -= len(data) if texts else 0
        if left_bytes < 0:
            raise RequestInvalidError(
                f"the answer is larger than {ANSWER_LIMIT_BYTES} bytes; ask for fewer outputs or rows",
                param="outputs",
            )
        answer.append(Tensor(name=name, datatype=specs[name].datatype, shape=value.shape, data=data))
    return tuple(answer)


def _checked(tensor: Tensor, spec: TensorSpec, param: str) -> NDArray[Any]:
    what = f"the input {tensor.name!r}"
    if not spec.datatype:
        raise RequestInvalidError(f"{what} is of a type that the protocol has no name for", param=param)
    if tensor.datatype != spec.datatype:
        raise RequestInvalidError(
            f"{what} is of {spec.datatype}, not {tensor.datatype[:40]!r}", param=f"{param}.datatype"
        )
    # ONNX Runtime says () also where the model leaves the rank open, and checks a scalar by itself.
    fits = not spec.shape or (
        len(tensor.shape) == len(spec.shape)
        and all(wanted in {-1, size} for wanted, size in zip(spec.shape, tensor.shape, strict=True))
    )
    if not fits:
        raise RequestInvalidError(
            f"{what} has the shape {list(tensor.shape)}, the model takes {list(spec.shape)} (-1 is any size)",
            param=f"{param}.shape",
        )
    try:
        array = array_of(tensor.data, tensor.datatype, tensor.shape, what)
        return text_array(array) if tensor.datatype == BYTES else array
    except UnicodeDecodeError as error:
        raise RequestInvalidError(
            f"{what} holds an element that is not UTF-8, which is all that ONNX's strings may be", param=param
        ) from error
    except RequestInvalidError as error:
        raise RequestInvalidError(error.message, param=param) from error


def _bytes_elements(texts: NDArray[Any]) -> NDArray[Any]:
    elements = np.empty(texts.shape, object)
    elements.ravel()[:] = [str(text).encode() for text in texts.ravel()]
    return elements
