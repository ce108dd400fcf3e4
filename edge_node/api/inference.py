"""The Open Inference Protocol, version 2 (KServe): what a client may ask about tensors, and the answers.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, with binary tensor data after
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md. An error is
`{"error": "<message>"}`; `code` and `param` are extensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "onnx_onnxruntime"
TENSORS_LIMIT_COUNT = 1024

# What Triton's clients may send besides, and no answer depends on.
_IGNORED = {"priority", "timeout"}
_Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# No lists or maps: nothing here has them, and each would take far more memory than its two bytes.
Parameters = dict[str, bool | int | float | str | None]


class InferInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input: its elements in `data`, or in the body after the JSON (`parameters.binary_data_size`)."""

    name: str
    shape: list[_Size]
    datatype: str
    parameters: Parameters = {}
    data: msgspec.Raw | UnsetType = UNSET


class InferWanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An output that is wanted, in the form that `parameters.binary_data` says."""

    name: str
    parameters: Parameters = {}


class InferRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v2/models/{name}/infer`; no outputs want all of them."""

    id: str | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[InferInput], Meta(max_length=TENSORS_LIMIT_COUNT)]
    outputs: Annotated[list[InferWanted], Meta(max_length=TENSORS_LIMIT_COUNT)] = []


class InferOutput(Struct, frozen=True, kw_only=True):
    """An output, flat and row-major in `data`, or in the body after the JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, int] | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET


class InferAnswer(Struct, frozen=True, kw_only=True):
    """The answer of `infer`."""

    model_name: str
    model_version: str
    id: str | UnsetType = UNSET
    outputs: tuple[InferOutput, ...]


class TensorCard(Struct, frozen=True, kw_only=True):
    """An input or output in a model's metadata; -1 is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(Struct, frozen=True, kw_only=True):
    """The answer of `GET /v2/models/{name}`."""

    name: str
    versions: tuple[str, ...]
    platform: str = PLATFORM
    inputs: tuple[TensorCard, ...]
    outputs: tuple[TensorCard, ...]


class ServerMetadata(Struct, frozen=True, kw_only=True):
    """The answer of `GET /v2`."""

    name: str = "edgeward"
    version: str
    extensions: tuple[str, ...] = EXTENSIONS


class ProtocolError(Struct, frozen=True, kw_only=True):
    """An error in the protocol's form."""

    error: str
    code: str
    param: str | None


def check_infer(request: InferRequest) -> None:
    """Refuse parameters that would have to be ignored, and outputs that are asked for twice.

    Raises:
        RequestInvalidError: `param` is the path of the field.
    """
    _check_parameters(request.parameters, {"binary_data_output"}, "parameters")
    for index, tensor in enumerate(request.inputs):
        path = f"inputs[{index}]"
        _check_parameters(tensor.parameters, {"binary_data_size"}, f"{path}.parameters")
        if ("binary_data_size" in tensor.parameters) == (tensor.data is not UNSET):
            raise RequestInvalidError(
                f"the input {tensor.name[:80]!r} needs either `data` or, in the binary form, "
                "`parameters.binary_data_size`",
                param=f"{path}.data",
            )
    names: set[str] = set()
    for index, wanted in enumerate(request.outputs):
        path = f"outputs[{index}]"
        _check_parameters(wanted.parameters, {"binary_data"}, f"{path}.parameters")
        if wanted.name in names:
            raise RequestInvalidError(f"the output {wanted.name[:80]!r} is asked for twice", param=path)
        names.add(wanted.name)


def wants_binary(request: InferRequest, name: str) -> bool:
    """Whether an output goes after the JSON: its own word counts before that for all."""
    for wanted in request.outputs:
        if wanted.name == name and "binary_data" in wanted.parameters:
            return bool(wanted.parameters["binary_data"])
    return bool(request.parameters.get("binary_data_output", False))


def _check_parameters(parameters: Mapping[str, Any], known: Collection[str], path: str) -> None:
    for name, value in parameters.items():
        if name in _IGNORED:
            continue
        if name not in known:
            raise RequestInvalidError(
                f"this node does not support the parameter {name[:80]!r} here; leave it out",
                param=f"{path}.{name[:80]}",
            )
        sized = name == "binary_data_size"
        fits = (
            isinstance(value, int) and not isinstance(value, bool) and value >= 0
            if sized
            else isinstance(value, bool)
        )
        if not fits:
            raise RequestInvalidError(
                f"{name} must be {'a number of bytes' if sized else 'true or false'}", param=f"{path}.{name}"
            )
