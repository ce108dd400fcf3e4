"""A look into a node of ggml's graph while llama.cpp computes: its name, what it multiplies, and the numbers in it.

The layout is that of `struct ggml_tensor` (ggml.h). `check_layout` holds the first node that is seen against the
library's own answers, so that a library with another layout is refused instead of misread.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np

from origin.errors import StepFailedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_F32 = 0


class Node(ctypes.Structure):
    """`struct ggml_tensor`, as far as its name."""

    if TYPE_CHECKING:
        type: int
        ne: Any
        nb: Any
        src: Any
        name: bytes

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    )


def node_at(address: int) -> Node:
    """The node of this address; valid while the graph is computed."""
    return Node.from_address(address)


def name_of(node: Node) -> str:
    """Its name, such as `l_out-3` or, of a weight, `blk.3.ffn_up.weight`."""
    return node.name.decode(errors="replace")


def operation_of(address: int) -> str:
    """What it computes, such as `MUL_MAT`."""
    return str(_library().ggml_op_desc(ctypes.c_void_p(address)).decode())


def source_of(node: Node, index: int) -> int:
    """The address of what it is computed from; 0 for none."""
    return int(node.src[index] or 0)


def numbers_of(address: int) -> NDArray[np.float32]:
    """The numbers of a node of float32, the length of a row last, copied from wherever they are.

    Raises:
        StepFailedError: they are of another type, or not one after the other.
    """
    node = node_at(address)
    lengths = [int(node.ne[axis]) for axis in range(4)]
    dense = all(int(node.nb[axis]) == 4 * int(np.prod(lengths[:axis])) for axis in range(4))
    if node.type != _F32 or not dense:
        raise StepFailedError(f"cannot read node {name_of(node)} of the graph (type {node.type})")
    numbers = np.empty(lengths[::-1], np.float32)
    _library().ggml_backend_tensor_get(
        ctypes.c_void_p(address), numbers.ctypes.data_as(ctypes.c_void_p), 0, numbers.nbytes
    )
    return numbers.reshape(-1, lengths[0])


def write_at(address: int, content: NDArray[Any]) -> None:
    """Overwrite a node of the model's own, a weight, with bytes of its type and size."""
    content = np.ascontiguousarray(content)
    size_bytes = _library().ggml_nbytes(ctypes.c_void_p(address))
    if content.nbytes != size_bytes:
        raise StepFailedError(f"{content.nbytes} bytes for a weight of {size_bytes}")
    _library().ggml_backend_tensor_set(
        ctypes.c_void_p(address), content.ctypes.data_as(ctypes.c_void_p), 0, content.nbytes
    )


@cache
def _library() -> Any:
    folder = Path(llama_cpp.__file__).parent / "lib"
    path = next(
        (folder / name for name in ("libggml-base.so", "libggml-base.dylib") if (folder / name).exists()),
        None,
    )
    if path is None:
        raise StepFailedError(f"llama-cpp-python has no libggml-base in {folder.name}; install its own wheel")
    library = ctypes.CDLL(str(path))
    library.ggml_op_desc.restype = ctypes.c_char_p
    library.ggml_op_desc.argtypes = [ctypes.c_void_p]
    library.ggml_get_name.restype = ctypes.c_char_p
    library.ggml_get_name.argtypes = [ctypes.c_void_p]
    library.ggml_nbytes.restype = ctypes.c_size_t
    library.ggml_nbytes.argtypes = [ctypes.c_void_p]
    library.ggml_backend_tensor_get.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
    ]
    library.ggml_backend_tensor_get.restype = None
    library.ggml_backend_tensor_set.argtypes = library.ggml_backend_tensor_get.argtypes
    library.ggml_backend_tensor_set.restype = None
    return library


def check_layout(address: int) -> None:
    """Make sure that a node is read as this ggml wrote it.

    Raises:
        StepFailedError: it is not; this llama-cpp-python needs another version of this file.
    """
    node, library = node_at(address), _library()
    named = library.ggml_get_name(ctypes.c_void_p(address)) == node.name
    sized = int(node.nb[3]) * int(node.ne[3]) == library.ggml_nbytes(ctypes.c_void_p(address))
    if not (named and sized):
        raise StepFailedError(
            f"ggml's nodes of llama-cpp-python {llama_cpp.__version__} are laid out in an unknown way; install 0.3.36"
        )
