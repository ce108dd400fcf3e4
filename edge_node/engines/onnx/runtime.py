"""ONNX Runtime behind one narrow door: a session opened as the node is set, its tensors, and a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Since 1.29 the Linux wheels report usage unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from edge_node.engines import TensorSpec
from edge_node.engines.tensor_bytes import BYTES
from edge_node.errors import EngineFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_node.engines.spec import EngineSpec

_LOAD_ERRORS = (
    native.EPFail, native.Fail, native.InvalidArgument, native.InvalidGraph, native.InvalidProtobuf,
    native.NoModel, native.NoSuchFile, native.NotImplemented, native.RuntimeException,
)  # fmt: skip
# Its binding makes Python's own of some of what goes wrong in C++.
_RUN_ERRORS = (*_LOAD_ERRORS, RuntimeError, ValueError, MemoryError)
VERSION: str = onnxruntime.__version__
_CPU = "CPUExecutionProvider"
_DATATYPES = {
    "tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64", "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32",
    "tensor(int64)": "INT64", "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
    "tensor(string)": BYTES,
}  # fmt: skip


class Session:
    """An open model; `run` may be called from several threads at once.

    Attributes:
        inputs: what it takes; a datatype that the protocol cannot carry is empty.
        outputs: what it gives.
        providers: what ONNX Runtime runs it on, first the preferred one.
    """

    def __init__(self, native_session: Any) -> None:
        self._native = native_session
        self.inputs = tuple(_spec(entry) for entry in native_session.get_inputs())
        self.outputs = tuple(_spec(entry) for entry in native_session.get_outputs())
        self.providers = tuple(native_session.get_providers())

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """The outputs named, for these inputs.

        Raises:
            EngineFailedError: ONNX Runtime cannot compute this.
        """
        try:
            values: list[NDArray[Any]] = self._native.run(list(outputs), dict(feeds))
        except _RUN_ERRORS as error:
            raise EngineFailedError(f"ONNX Runtime cannot compute this: {error}") from error
        return values


def open_session(path: Path, spec: EngineSpec) -> Session:
    """Open a model file as the node's settings say.

    Raises:
        EngineFailedError: ONNX Runtime has not the providers asked for, or cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.threads_count
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = spec.keeps_arena
    # Threads that spin between two runs take the cores of the other engines.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = chosen_providers(spec.providers, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except _LOAD_ERRORS as error:
        raise EngineFailedError(f"ONNX Runtime cannot load {path.name}: {error}") from error
    missing = [name for name in spec.providers if name not in session.get_providers()]
    if missing:
        # ONNX Runtime only warns, and goes on with the CPU.
        raise EngineFailedError(
            f"ONNX Runtime could not start {', '.join(missing)} (a driver or a library is missing?); "
            "mend that, or leave it out of node.onnx_providers"
        )
    return Session(session)


def chosen_providers(wanted: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """Execution providers in order, the CPU last for what the others cannot compute.

    Raises:
        EngineFailedError: one of them is not in this build of ONNX Runtime.
    """
    unknown = [name for name in wanted if name not in available]
    if unknown:
        raise EngineFailedError(
            f"node.onnx_providers asks for {', '.join(unknown)}; the installed ONNX Runtime has "
            f"{', '.join(available)}: install the build for your accelerator (such as onnxruntime-gpu) in its place"
        )
    return tuple(dict.fromkeys((*wanted, _CPU)))


def _spec(entry: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in entry.shape or ())
    return TensorSpec(name=entry.name, datatype=_DATATYPES.get(entry.type, ""), shape=shape)


def text_array(elements: NDArray[Any]) -> NDArray[Any]:
    """An array of `bytes` as ONNX Runtime wants it. Raises UnicodeDecodeError."""
    texts = np.empty(elements.shape, object)
    texts.ravel()[:] = [element.decode() for element in elements.ravel()]
    return texts
