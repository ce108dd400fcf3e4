"""llama.cpp's own quantization in a process of its own, since ggml ends the process on input that it does not like.

`python -m origin.build.gguf.llama_quantize` reads an order from stdin (a line of JSON) and writes the file that it
names. It ends itself when its stdin is closed.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from origin.build.orphan import end_with_parent
from origin.errors import StepFailedError

_SAID_LIMIT_COUNT = 400


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: paths as texts, types as ggml's numbers; -1 leaves the choice to llama.cpp."""

    source: str
    target: str
    file_type: int
    embedding_type: int = -1
    tensors: list[tuple[str, int]] = []
    importance: str = ""
    threads_count: int = 1


def quantize_apart(order: Order) -> None:
    """Quantize in a child process.

    Raises:
        StepFailedError: llama.cpp refused, or died of it; with its last words.
    """
    command = [sys.executable, "-m", "origin.build.gguf.llama_quantize"]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said
        ) as child:
            assert child.stdin is not None, "it was asked for"
            try:
                with suppress(BrokenPipeError):  # it is dead, and what it said of it is read below
                    child.stdin.write(msgspec.json.encode(order) + b"\n")
                    child.stdin.flush()
                child.wait()
            except BaseException:
                child.kill()
                raise
        said.seek(0)
        words = said.read().decode(errors="replace").strip().splitlines()
    if child.returncode:
        last = "; ".join(line.strip() for line in words[-3:])[-_SAID_LIMIT_COUNT:]
        raise StepFailedError(
            f"llama.cpp could not quantize {Path(order.source).name} (exit {child.returncode}): {last}"
        )


def main() -> int:
    """Do what stdin orders; what llama.cpp says goes to stderr."""
    from llama_cpp import llama_cpp as native  # noqa: PLC0415 - the parent needs none of it
    from safetensors.numpy import load_file  # noqa: PLC0415

    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    end_with_parent()
    wanted = native.llama_model_quantize_default_params()
    wanted.nthread = order.threads_count
    wanted.ftype = order.file_type
    wanted.allow_requantize = False
    if order.embedding_type >= 0:
        wanted.token_embedding_type = wanted.output_tensor_type = order.embedding_type
    kept: list[object] = []  # what the library points to while it works
    if order.tensors:
        overrides = (native.llama_model_tensor_override * (len(order.tensors) + 1))()
        for place, (pattern, type_id) in zip(overrides, order.tensors, strict=False):
            place.pattern, place.type = pattern.encode(), type_id
        wanted.tt_overrides = overrides
        kept.append(overrides)
    if order.importance:
        vectors = {
            name: np.ascontiguousarray(vector, np.float32)
            for name, vector in load_file(order.importance).items()
            if name.endswith(".weight")
        }
        figures = (native.llama_model_imatrix_data * (len(vectors) + 1))()
        for place, (name, vector) in zip(figures, vectors.items(), strict=False):
            place.name, place.size = name.encode(), vector.size
            place.data = vector.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        wanted.imatrix = figures
        kept += [figures, vectors]
    return int(
        native.llama_model_quantize(order.source.encode(), order.target.encode(), ctypes.byref(wanted))
    )


if __name__ == "__main__":
    sys.exit(main())
