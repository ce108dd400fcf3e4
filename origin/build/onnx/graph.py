"""GraphWriter: an ONNX graph put together node by node, and written only if ONNX Runtime can run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from origin.build.onnx.running import check_loads
from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

OPSET = 20
"""The first with Gelu. Below 18 ORT's own passes leave graphs that do not load (axes of reductions as attributes)."""
IR_VERSION = 9
CONTRIB = "com.microsoft"


class GraphWriter:
    """Nodes and weights by name; each `add` gives back the name of its result."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._described: list[Any] = []

    def weight(self, name: str, values: NDArray[Any]) -> str:
        """A tensor that the file carries; the same name twice is the same tensor."""
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(values, name)
        return name

    def add(self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """A node with one result, which is called `name` or by the node's kind and number."""
        return self.split(kind, inputs, 1, name, **attributes)[0]

    def split(
        self, kind: str, inputs: Sequence[str], count: int, name: str = "", **attributes: Any
    ) -> list[str]:
        """A node with several results."""
        if not name:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            name = f"{kind.lower()}_{self._counts[kind]}"
        outputs = [name] if count == 1 else [f"{name}.{index}" for index in range(count)]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, name=f"{name}/{kind}", **attributes))
        return outputs

    def describe(self, result: str, shape: Sequence[int | str]) -> str:
        """Say the shape of floats that no standard rule infers: what follows a contrib operator is quantized by it."""
        self._described.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, list(shape)))
        return result

    def model(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """The model, with the contrib operators of ONNX Runtime allowed where a node has them."""
        graph = helper.make_graph(
            self._nodes, self._name, list(inputs), list(outputs), list(self._weights.values()),
            value_info=self._described,
        )  # fmt: skip
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)],
            ir_version=IR_VERSION,
            producer_name="edgeward",
        )


def text_inputs() -> list[Any]:
    """Token ids and which of them count: what a node feeds, [rows, tokens]."""
    shape = ["rows", "tokens"]
    return [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name in ("input_ids", "attention_mask")
    ]


def vector_output(width: int) -> Any:
    """One vector of length 1 a row: [rows, width]."""
    return helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["rows", width])


def load_graph(file: Path) -> Any:
    """Read a model with all of its weights. Raises StepFailedError."""
    try:
        return onnx.load(str(file))
    except Exception as error:  # protobuf's DecodeError is not public, and onnx raises several bare classes
        raise StepFailedError(f"cannot read {file}: {error}") from error


def save_graph(model: Any, file: Path) -> None:
    """Write a model that ONNX Runtime has loaded from these bytes.

    Raises:
        StepFailedError: it cannot; the message says why.
    """
    content: bytes = model.SerializeToString(deterministic=True)
    check_loads(content)
    file.write_bytes(content)
