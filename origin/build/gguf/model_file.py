"""A GGUF file to read: its fields as they are, its tensors as numbers or as the bytes of their blocks."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from registry.errors import FormatInvalidError
from registry.formats.ggml_tables import GGML_TYPES
from registry.formats.gguf import (
    SCALARS,
    TYPE_ARRAY,
    TYPE_STRING,
    GgufField,
    GgufHeader,
    GgufTensor,
    read_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

TYPE_IDS = {known.name: type_id for type_id, known in GGML_TYPES.items()}
"""ggml's number of a tensor type, by its name."""
_PLAIN: dict[str, str] = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
_READ_BY_GGUF = frozenset({
    "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S", "IQ1_M",
    "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4",
})  # fmt: skip
"""Types that gguf turns into numbers, from 0.19 on; it tells of the others by failing at them."""


class ModelFile:
    """An open GGUF file; tensors are read from the page cache when they are asked for.

    Raises:
        FormatInvalidError: not a GGUF file that is read here, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            self.header: GgufHeader = read_header(file, size_bytes)
        self.path = path
        self.architecture = self.header.text("general.architecture")
        self.tensors: dict[str, GgufTensor] = {tensor.name: tensor for tensor in self.header.tensors}
        self._bytes: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[GgufTensor]:
        return iter(self.header.tensors)

    def raw(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor, a row of blocks to a row; not copied.

        Raises:
            FormatInvalidError: there is no such tensor.
        """
        tensor = self._tensor(name)
        return self._bytes[tensor.start : tensor.end].reshape(-1, tensor.row_bytes)

    def values(self, name: str) -> NDArray[np.float32]:
        """The numbers of a tensor, rows first.

        Raises:
            FormatInvalidError: there is no such tensor, or nothing here knows how to read its type.
        """
        tensor = self._tensor(name)
        shape = tuple(reversed(tensor.dimensions))
        plain = _PLAIN.get(tensor.element)
        if plain:
            return self.raw(name).view(plain).astype(np.float32).reshape(shape)
        if tensor.element not in _READ_BY_GGUF:
            raise FormatInvalidError(f"{self.path.name}: cannot read tensor {name} of type {tensor.element}")
        kind = GGMLQuantizationType[tensor.element]
        numbers: NDArray[np.float32] = dequantize(self.raw(name), kind)
        return numbers.astype(np.float32, copy=False).reshape(shape)

    def number(self, key: str) -> int:
        """A whole number that every model of this architecture has, such as `block_count`.

        Raises:
            FormatInvalidError: this one has not.
        """
        value = self.header.number(f"{self.architecture}.{key}")
        if value is None:
            raise FormatInvalidError(f"{self.path.name} has no number {self.architecture}.{key}")
        return value

    @property
    def layers_count(self) -> int:
        """How many blocks of attention and feed-forward it has."""
        return self.number("block_count")

    def array(self, key: str) -> list[str] | NDArray[Any]:
        """A field that is a list of texts or of numbers.

        Raises:
            FormatInvalidError: there is none of this key, or it is something else.
        """
        field = self.header.field(key)
        if field is None or field.type != TYPE_ARRAY:
            raise FormatInvalidError(f"{self.path.name} has no list {key}")
        content = self._bytes[field.start : field.end].tobytes()
        element, count = struct.unpack_from("<IQ", content)
        if element == TYPE_STRING:
            return _texts(content, count)
        if element not in SCALARS:
            raise FormatInvalidError(f"{self.path.name}: {key} is a list of something that is not read here")
        return np.frombuffer(content, SCALARS[element], count, 12)

    def field_bytes(self, field: GgufField) -> bytes:
        """A whole field as it is in the file, its key included."""
        return self._bytes[field.field_start : field.end].tobytes()

    def _tensor(self, name: str) -> GgufTensor:
        if name not in self.tensors:
            raise FormatInvalidError(f"{self.path.name} has no tensor {name}")
        return self.tensors[name]


def stored_bytes(numbers_count: int, element: str) -> int:
    """What so many numbers take, in whole blocks of the type of this name."""
    known = GGML_TYPES[TYPE_IDS[element]]
    return numbers_count // known.block_elements * known.block_bytes


def matrices(model: ModelFile) -> list[GgufTensor]:
    """The tensors that are multiplied with: two dimensions, in the order of the file."""
    return [tensor for tensor in model if len(tensor.dimensions) == 2 and min(tensor.dimensions) > 1]


def _texts(content: bytes, count: int) -> list[str]:
    texts, position = [], 12
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", content, position)
        position += 8
        texts.append(content[position : position + length].decode("utf-8", "surrogateescape"))
        position += length
    return texts
