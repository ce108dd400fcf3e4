"""Tensors to and from a node: the Open Inference Protocol with each tensor's bytes after the JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from msgspec import Struct

from edge_node.errors import AnswerInvalidError
from registry.bodies import JSON_TYPE, decode
from registry.errors import InputInvalidError
from registry.wire import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_node.client.answers import Served

JSON_BYTES_HEADER = "Inference-Header-Content-Length"
BINARY_TYPE = "application/octet-stream"


class Tensor(Struct, frozen=True):
    """An array: row-major little-endian elements of a datatype of the protocol, such as `FP32` or `INT64`."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes


class Tensors(dict[str, Tensor]):
    """What a model gave, by the names of its outputs; with the model and the node that ran it."""

    def __init__(self, tensors: Mapping[str, Tensor], *, model: str, served: Served) -> None:
        super().__init__(tensors)
        self.model = model
        self.served = served


class _Sizes(Struct, frozen=True):
    binary_data_size: int


class _Output(Struct, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: _Sizes


class _Answer(Struct, frozen=True):
    model_name: str
    model_version: str
    outputs: tuple[_Output, ...]


def infer_path(model: str) -> str:
    """The URL's path for a model's tensors."""
    return f"/v2/models/{quote(model, safe='/@:')}/infer"


def encode_infer(inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    """A request's body and the headers that describe it."""
    described = [
        {
            "name": name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
            "parameters": {"binary_data_size": len(tensor.data)},
        }
        for name, tensor in inputs.items()
    ]
    wanted = {"outputs": [{"name": name} for name in outputs]} if outputs else {}
    head = to_json({"inputs": described, "parameters": {"binary_data_output": True}, **wanted})
    body = b"".join([head, *(tensor.data for tensor in inputs.values())])
    return body, {"content-type": BINARY_TYPE, JSON_BYTES_HEADER: str(len(head))}


def decode_infer(body: bytes, stated: str | None, served: Served) -> Tensors:
    """The tensors of an answer; `stated` is the header with the length of its JSON.

    Raises:
        AnswerInvalidError: not such an answer.
    """
    head_bytes = len(body) if stated is None else int(stated) if stated.isascii() and stated.isdigit() else -1
    if not 0 <= head_bytes <= len(body):
        raise AnswerInvalidError("the answer does not say where its tensors begin")
    try:
        answer = decode(body[:head_bytes], JSON_TYPE, _Answer)
    except InputInvalidError as error:
        raise AnswerInvalidError(f"the node's answer cannot be read: {error.message}") from error
    tensors, at = {}, head_bytes
    for output in answer.outputs:
        size = output.parameters.binary_data_size
        if not 0 <= size <= len(body) - at:
            raise AnswerInvalidError("the tensors of the answer are not as long as it says")
        tensors[output.name] = Tensor(output.datatype, output.shape, body[at : at + size])
        at += size
    return Tensors(tensors, model=f"{answer.model_name}@{answer.model_version}", served=served)
